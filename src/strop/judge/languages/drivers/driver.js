// Calls functions of the program: a request a line on descriptor 3, [name, arguments]; a reply a line.
"use strict";
const fs = require("fs");
const Module = require("module");
const CHANNEL = 3;
const path = "PROGRAM";

function encode(value, depth) {
  if (depth > 140) throw new Error("nested too deep");
  switch (typeof value) {
    case "undefined":
      return "null";
    case "boolean":
      return value ? "true" : "false";
    case "string":
      return JSON.stringify(value);
    case "bigint":
      return value.toString();
    case "number":
      if (Number.isNaN(value)) return '{"n":"nan"}';
      if (!Number.isFinite(value)) return value > 0 ? '{"n":"inf"}' : '{"n":"-inf"}';
      return Object.is(value, -0) ? "-0.0" : String(value);
    case "object":
      break;
    default:
      throw new Error(`a ${typeof value} is not plain data`);
  }
  if (value === null) return "null";
  const items = (list) => "[" + Array.from(list, (item) => encode(item, depth + 1)).join(",") + "]";
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return items(value);
  if (value instanceof Set) return `{"s":${items(value)}}`;
  if (value instanceof Map) return `{"d":${items(Array.from(value).flat(1))}}`;
  if (value instanceof Date) return JSON.stringify(value.toISOString());
  if (value instanceof Number || value instanceof String || value instanceof Boolean) return encode(value.valueOf(), depth);
  const pairs = Object.keys(value).filter((key) => value[key] !== undefined);
  return '{"o":{' + pairs.map((key) => JSON.stringify(key) + ":" + encode(value[key], depth + 1)).join(",") + "}}";
}

function* requests() {
  let rest = Buffer.alloc(0);
  const piece = Buffer.alloc(1 << 16);
  for (;;) {
    const end = rest.indexOf(10);
    if (end >= 0) {
      yield JSON.parse(rest.subarray(0, end).toString("utf8"));
      rest = rest.subarray(end + 1);
      continue;
    }
    const count = fs.readSync(CHANNEL, piece, 0, piece.length, null);
    if (count === 0) return;
    rest = Buffer.concat([rest, piece.subarray(0, count)]);
  }
}

function send(text) {
  const data = Buffer.from(text + "\n", "utf8");
  for (let at = 0; at < data.length; ) at += fs.writeSync(CHANNEL, data, at);
}

function failure(kind, error) {
  let name = "Error", text = "", line = null;
  try {
    name = String((error && error.name) || typeof error);
    text = String((error && error.message) || error).slice(0, 500);
    const at = /program\.[cm]js:(\d+)/.exec(String(error && error.stack));
    line = at ? Number(at[1]) : null;
  } catch {}
  return JSON.stringify(kind === "e" ? ["e", [name], null, text, line] : ["l", kind, [name], null, text, line]);
}

// A CommonJS program, with a way to look up what it declares at its top level.
function load() {
  const source = fs.readFileSync(path, "utf8").replace(/^#!.*/, "");
  const head = "(function (exports, require, module, __filename, __dirname) {";
  new (require("vm").Script)(`${head}${source}\n})`, { filename: path });
  const whole = new (require("vm").Script)(`${head}${source}\n;return (name) => eval(name);})`, { filename: path });
  const module = new Module(path);
  module.filename = path;
  const find = whole.runInThisContext().call(
    module.exports, module.exports, Module.createRequire(path), module, path, "/box");
  return (name) => {
    if (module.exports && module.exports[name] !== undefined) return module.exports[name];
    try {
      return find ? find(name) : undefined;
    } catch {
      return undefined;
    }
  };
}

async function main() {
  let find, problem;
  try {
    if (path.endsWith(".mjs")) {
      const space = await import(path);
      find = (name) => (space[name] !== undefined ? space[name] : space.default && space.default[name]);
    } else {
      find = load();
    }
  } catch (error) {
    problem = failure(error instanceof SyntaxError ? "syntax" : "runtime", error);
  }
  for (const [name, values] of requests()) {
    let reply = problem;
    if (!reply) {
      try {
        const called = find(name);
        if (typeof called !== "function") reply = JSON.stringify(["m", name]);
        else reply = `["v",${encode(await called(...values), 0)}]`;
      } catch (error) {
        reply = failure("e", error);
      }
    }
    send(reply);
  }
  process.exit(0);
}

main();
