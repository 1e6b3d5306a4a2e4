-- Tokens, read out of the answers as they pass: nothing is held back and nothing is changed.
-- The last usage object seen counts, so a stream that its client leaves is logged with what it had cost by then.
-- Text written by a model cannot be taken for usage: inside a JSON string every quote is escaped.
local KEEP, MARK = 1024, 16

local function number(text, at, first, second)
  local digits = text:match('"' .. first .. '"%s*:%s*(%d+)', at) or text:match('"' .. second .. '"%s*:%s*(%d+)', at)
  return digits and tonumber(digits)
end

-- Notes every usage object in `text`; returns what must be kept to understand the next chunk.
local function note(handle, text)
  local unfinished
  local at = text:find('"usage"', 1, true)
  while at do
    local open = text:match("^%s*:%s*{()", at + 7)
    if open then
      local prompt = number(text, open, "prompt_tokens", "input_tokens")
      local completion = number(text, open, "completion_tokens", "output_tokens")
      if prompt then
        local metadata = handle:streamInfo():dynamicMetadata()
        metadata:set("lyc.usage", "prompt_tokens", prompt)
        metadata:set("lyc.usage", "completion_tokens", completion or 0)
      end
      unfinished = not completion and at or nil
    end
    at = text:find('"usage"', at + 7, true)
  end
  if unfinished and #text - unfinished < KEEP then return text:sub(unfinished) end
  return text:sub(-MARK)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") ~= "200" then return end
  local kind = headers:get("content-type") or ""
  if not kind:find("event-stream", 1, true) and not kind:find("json", 1, true) then return end
  local kept = ""
  for chunk in handle:bodyChunks() do
    local length = chunk:length()
    if length > 0 then kept = note(handle, kept .. chunk:getBytes(0, length)) end
  end
end
