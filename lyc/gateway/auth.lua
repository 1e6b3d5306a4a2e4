-- Who may pass: SHA-256 of the bearer, looked up in the table below, must belong to the deployment in the path.
-- Order of the answers: 401 before anything else, so that a caller without a key learns no name and no path.
-- A Lua error would let the request pass: everything runs in pcall, and an RBAC filter behind this one wants `key_id`.
local bit = require("bit")
local band, bnot, bxor, ror, rsh, tobit, tohex =
  bit.band, bit.bnot, bit.bxor, bit.ror, bit.rshift, bit.tobit, bit.tohex
local byte, char, floor = string.byte, string.char, math.floor

local K = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
}
local W = {}

local function sha256(message)
  local bits = #message * 8
  message = message .. "\128" .. string.rep("\0", (55 - #message) % 64) .. "\0\0\0\0"
    .. char(band(rsh(bits, 24), 255), band(rsh(bits, 16), 255), band(rsh(bits, 8), 255), band(bits, 255))
  local h0, h1, h2, h3 = 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a
  local h4, h5, h6, h7 = 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
  for offset = 1, #message, 64 do
    for i = 0, 15 do
      local a, b, c, d = byte(message, offset + i * 4, offset + i * 4 + 3)
      W[i] = tobit(a * 16777216 + b * 65536 + c * 256 + d)
    end
    for i = 16, 63 do
      local x, y = W[i - 15], W[i - 2]
      W[i] = tobit(W[i - 16] + bxor(ror(x, 7), ror(x, 18), rsh(x, 3)) + W[i - 7]
        + bxor(ror(y, 17), ror(y, 19), rsh(y, 10)))
    end
    local a, b, c, d, e, f, g, h = h0, h1, h2, h3, h4, h5, h6, h7
    for i = 0, 63 do
      local t1 = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(band(e, f), band(bnot(e), g)) + K[i + 1] + W[i]
      local t2 = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + t1), c, b, a, tobit(t1 + t2)
    end
    h0, h1, h2, h3 = tobit(h0 + a), tobit(h1 + b), tobit(h2 + c), tobit(h3 + d)
    h4, h5, h6, h7 = tobit(h4 + e), tobit(h5 + f), tobit(h6 + g), tobit(h7 + h)
  end
  return tohex(h0) .. tohex(h1) .. tohex(h2) .. tohex(h3) .. tohex(h4) .. tohex(h5) .. tohex(h6) .. tohex(h7)
end

local ID_WIDTH, NAME_WIDTH, MAX_BODY = @@ID_WIDTH@@, @@NAME_WIDTH@@, @@MAX_BODY@@
local WIDTH = 64 + ID_WIDTH + NAME_WIDTH
local TABLE = [==[@@KEYS@@]==]
local COUNT = #TABLE / WIDTH

local function lookup(hash)
  local low, high = 0, COUNT - 1
  while low <= high do
    local middle = floor((low + high) / 2)
    local at = middle * WIDTH
    local found = TABLE:sub(at + 1, at + 64)
    if found == hash then
      return TABLE:sub(at + 65, at + 64 + ID_WIDTH):match("%S+"), TABLE:sub(at + 65 + ID_WIDTH, at + WIDTH):match("%S+")
    elseif found < hash then
      low = middle + 1
    else
      high = middle - 1
    end
  end
end

local BODIES = {
  ["401"] = [==[@@BODY_401@@]==],
  ["404"] = [==[@@BODY_404@@]==],
  ["413"] = [==[@@BODY_413@@]==],
  ["500"] = [==[@@BODY_500@@]==],
}

local function refuse(handle, status)
  handle:streamInfo():dynamicMetadata():set("lyc", "said", true)
  local headers = { [":status"] = status, ["content-type"] = "application/json" }
  if status == "401" then headers["www-authenticate"] = "Bearer" end
  handle:respond(headers, BODIES[status])
end

-- What the engine will see: it decodes percent-encoding once, so the check must too.
local function decoded(path)
  return (path:gsub("%%(%x%x)", function(hex) return char(tonumber(hex, 16)) end))
end

-- Paths under /v1 that administer the engine instead of using it.
local function administers(rest)
  return rest:find("^/*load_lora_adapter") or rest:find("^/*unload_lora_adapter")
end

local function check(handle)
  local headers = handle:headers()
  local authorization = headers:get("authorization")
  local token = authorization and #authorization <= 512 and authorization:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)$")
  if not token then return refuse(handle, "401") end
  local id, owner = lookup(sha256(token))
  if not id then return refuse(handle, "401") end
  local path = headers:get(":path"):match("^[^?#]*")
  local name, rest = path:match("^/([%w][%w._-]*)/v1(/.*)$")
  if not name then return refuse(handle, "404") end
  if name ~= owner then return refuse(handle, "401") end
  local plain = decoded(rest)
  if plain:find("//", 1, true) or plain:find("/.", 1, true) or plain:find("[%z\1-\31\127\\]") or administers(plain) then
    return refuse(handle, "404")
  end
  local length = tonumber(headers:get("content-length") or "0")
  if not length or length > MAX_BODY then return refuse(handle, "413") end
  headers:remove("authorization")
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set("lyc", "key_id", id)
  metadata:set("lyc", "deployment", name)
end

function envoy_on_request(handle)
  local ok = pcall(check, handle)
  if not ok then
    handle:logErr("the key check failed on a request, which was refused")
    refuse(handle, "500")
  end
end
