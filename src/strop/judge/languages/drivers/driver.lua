-- Calls functions of the program: a request a line on standard input, Lua source that returns a name and the packed
-- arguments; a reply a line on standard output. What the program prints goes to standard error.
local input, output, errors = io.stdin, io.stdout, io.stderr
local load, pcall, xpcall, type, next, tostring, floor = load, pcall, xpcall, type, next, tostring, math.floor
local format, mathtype, concat, unpack = string.format, math.type, table.concat, table.unpack
io.output(errors)
io.input(io.open("/dev/null"))
print = function(...)
  local parts = table.pack(...)
  for i = 1, parts.n do parts[i] = tostring(parts[i]) end
  errors:write(concat(parts, "\t"), "\n")
end

local function text(value)
  return '"' .. value:gsub('[%c"\\\127-\255]', function(c)
    if c:byte() > 126 then return c end
    return format("\\u%04x", c:byte())
  end) .. '"'
end

local function encode(value, depth)
  local kind = type(value)
  if depth > 140 then error("nested too deep") end
  if kind == "nil" then return "null" end
  if kind == "boolean" then return tostring(value) end
  if kind == "string" then return text(value) end
  if kind == "number" then
    if value ~= value then return '{"n":"nan"}' end
    if value == 1 / 0 then return '{"n":"inf"}' end
    if value == -1 / 0 then return '{"n":"-inf"}' end
    if mathtype(value) == "integer" then return format("%d", value) end
    local digits = format("%.17g", value)
    return digits:find("[.e]") and digits or digits .. ".0"
  end
  if kind ~= "table" then error("a " .. kind .. " is not plain data") end
  local count, parts = 0, {}
  for _ in next, value do count = count + 1 end
  if count == #value then
    for i = 1, count do parts[i] = encode(value[i], depth + 1) end
    return "[" .. concat(parts, ",") .. "]"
  end
  for key, item in next, value do
    parts[#parts + 1] = encode(key, depth + 1)
    parts[#parts + 1] = encode(item, depth + 1)
  end
  return '{"d":[' .. concat(parts, ",") .. "]}"
end

local function failure(kind, name, message)
  message = tostring(message)
  local line = message:match("%.lua:(%d+):") or "null"
  local head = kind == "e" and '["e",[' or '["l","' .. kind .. '",['
  return head .. text(name) .. "],null," .. text(message:sub(1, 400)) .. "," .. line .. "]"
end

local found, problem = nil, nil
local chunk, why = loadfile("/box/program.lua")
if not chunk then
  problem = failure("syntax", "syntax error", why)
else
  chunk = loadfile("/box/found.lua") or chunk
  local fine, result = pcall(chunk)
  if not fine then problem = failure("runtime", "error", result) end
  found = type(result) == "table" and result or {}
end

for line in input:lines() do
  local name, values = load(line)()
  local reply = problem
  if not reply then
    local called = found[name] or _G[name]
    if type(called) ~= "function" then
      reply = '["m",' .. text(name) .. "]"
    else
      local fine, result = xpcall(called, tostring, unpack(values, 1, values.n))
      if fine then
        local written, coded = pcall(encode, result, 0)
        reply = written and '["v",' .. coded .. "]" or '["x",' .. text(tostring(coded)) .. "]"
      else
        reply = failure("e", "error", result)
      end
    end
  end
  output:write(reply, "\n")
  output:flush()
end
