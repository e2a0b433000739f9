// TypeScript to JavaScript: argv[2] is the compiler's library. Syntax errors go to standard error, exit code 1.
"use strict";
const fs = require("fs");
const ts = require(process.argv[2]);
const text = fs.readFileSync("/box/program.ts", "utf8");
const done = ts.transpileModule(text, {
  reportDiagnostics: true,
  fileName: "program.ts",
  compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS, esModuleInterop: true },
});
for (const found of done.diagnostics) {
  const at = found.file ? found.file.getLineAndCharacterOfPosition(found.start) : { line: 0, character: 0 };
  const message = ts.flattenDiagnosticMessageText(found.messageText, "\n");
  process.stderr.write(`program.ts(${at.line + 1},${at.character + 1}): error TS${found.code}: ${message}\n`);
}
if (done.diagnostics.length) process.exit(1);
fs.writeFileSync("/box/program.cjs", done.outputText);
