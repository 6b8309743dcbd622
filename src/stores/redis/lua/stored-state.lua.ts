/** Bytes of a number of a compact state. */
const COMPACT = 6;
/** The first number that does not fit into them. */
export const COMPACT_END = 2 ** (8 * COMPACT);
/** The flags of sections. A new section gets the next one, which is then the end. */
const BLOCKED = 1;
const MARKED = 2;
const QUEUED = 4;
const SCALED = 8;
const END_OF_FLAGS = 16;

/**
 * The storage format of a bucket. It has no counterpart in TypeScript. Constants are interpolated, because capturing a
 * variable of the same function takes Lua a search.
 */
export const STORED_STATE = `
-- A stored state is a list of numbers: at, and for each limit what its algorithm stores: a bucket its debt; a window its
-- sum, and time and amount of each admission. Nearly all states are that alone. These are compact: integers of
-- ${COMPACT} bytes, which a bucket of one limit needs so that Redis keeps it in 32 bytes.
-- Another algorithm may store any number of whole numbers, such as the end of a period, or the holders of slots.
-- Other states are extended: doubles, and a last byte with the flags of the sections that follow the limits. So their
-- length is odd, and that of compact states is even. A new section gets the next flag and is appended; a flag of a later
-- version makes the state unreadable. Sections, in this order:
--   BLOCKED  blockedUntil
--   MARKED   the number of marks, and for each its id and a number for each limit
--   QUEUED   for each limit its debt without the queue; the number of reservations, and for each its actAt and an amount
--            for each limit
--   SCALED   for each limit capacity, weight and fillTime of the scale of its debt
local NO_BUCKET = 'its value is not a bucket'
local emptied, messages = {}, {}
opened = {}
local reading

-- Messages are sent once all states have been saved: a slot that was granted must be stored.
local function publish(key, text) messages[#messages + 1] = { key = key, text = text } end

local function publishTo(holder, state, text, ...)
  publish(string.format('%s:%.0f', state.key, holder.id), string.format(text, ...))
end

local function has(flags, flag) return flags % (2 * flag) >= flag end

-- The numbers of a string, all of the same format of \`size\` bytes. Many are unpacked in pieces, because Lua's stack is
-- limited.
local function unpackAll(format, size, stored)
  local count = #stored / size
  if count % 1 ~= 0 then error(NO_BUCKET, 0) end
  local numbers = { unpacks('<' .. string.rep(format, min(count, 400)), stored) }
  while #numbers <= count do
    local place = #numbers
    local more = { unpacks('<' .. string.rep(format, min(count - place + 1, 400)), stored, numbers[place]) }
    for i = 1, #more do numbers[place + i - 1] = more[i] end
  end
  -- Behind the numbers is the position where the last call has stopped.
  numbers[count + 1] = nil
  return numbers
end

-- Returns the stored numbers and the flags.
local function decode(stored)
  if #stored % 2 == 0 then return unpackAll('I${COMPACT}', ${COMPACT}, stored), 0 end
  local flags = string.byte(stored, -1)
  if flags >= ${END_OF_FLAGS} then error(NO_BUCKET .. ', or of a later version', 0) end
  local numbers = unpackAll('d', 8, string.sub(stored, 1, -2))
  for i = 1, #numbers do
    if not isWhole(numbers[i]) then error(NO_BUCKET, 0) end
  end
  return numbers, flags
end

-- Fills the state from the sections of the numbers that start at \`place\`, and returns where they end.
local function loadSections(policy, state, flags, numbers, place)
  local function read()
    place = place + 1
    return numbers[place - 1] or error(NO_BUCKET, 0)
  end
  if has(flags, ${BLOCKED}) then state.blockedUntil = read() end
  for m = 1, has(flags, ${MARKED}) and read() or 0 do
    local mark = { id = read() }
    for i = 1, #policy do mark[i] = read() end
    state.marks[m] = mark
  end
  if has(flags, ${QUEUED}) then
    local queue = { debts = {} }
    for i = 1, #policy do queue.debts[i] = read() end
    for r = 1, read() do
      queue[r] = { actAt = read() }
      for i = 1, #policy do queue[r][i] = read() end
    end
    if #queue == 0 then error(NO_BUCKET, 0) end
    state.queue, state.queueEnd = queue, queue[#queue].actAt
  end
  if has(flags, ${SCALED}) then
    state.scales = {}
    for i = 1, #policy do
      local scale = { capacity = read(), weight = read(), fillTime = read() }
      if scale.capacity == 0 or scale.weight == 0 then error(NO_BUCKET, 0) end
      state.scales[i] = scale
    end
  end
  return place
end

local function load(policy, state, stored)
  local numbers, flags = decode(stored)
  local place = 2
  state.stored, state.at = stored, numbers[1] or error(NO_BUCKET, 0)
  for i, limit in ipairs(policy) do
    place = algorithms[limit.kind].load(state, i, numbers, place) or error(NO_BUCKET, 0)
  end
  if flags > 0 then place = loadSections(policy, state, flags, numbers, place) end
  if place ~= #numbers + 1 then error(NO_BUCKET, 0) end
end

-- Copies a state, but not its policy, for a request that changes nothing.
local copy
function copy(state)
  local other = {}
  for name, value in pairs(state) do
    other[name] = (type(value) == 'table' and name ~= 'policy') and copy(value) or value
  end
  return other
end

local function open(policy, key)
  local state = opened[key]
  if not state then
    state = { at = 0, policy = policy, key = key }
    reading = key
    local stored = call('GET', key)
    clear(policy, state)
    if stored then load(policy, state, stored) end
    opened[key] = state
  end
  -- A request that changes nothing must not change the numbers that the state counts in.
  if policy.isResolved then
    state = copy(state)
    state.policy, state.changed = policy, false
  end
  advance(policy, state, now)
  return state
end

local function keep(state)
  if state.policy.isResolved and state.changed then opened[state.key] = state end
end

-- Appends the sections of the state to the numbers, and returns their flags.
local function storeSections(policy, state, numbers)
  local flags = 0
  local function write(number) numbers[#numbers + 1] = number end
  if state.blockedUntil > 0 then
    flags = flags + ${BLOCKED}
    write(state.blockedUntil)
  end
  if #state.marks > 0 then
    flags = flags + ${MARKED}
    write(#state.marks)
    for _, mark in ipairs(state.marks) do
      write(mark.id)
      for i = 1, #policy do write(mark[i]) end
    end
  end
  if state.queue then
    flags = flags + ${QUEUED}
    for i = 1, #policy do write(state.queue.debts[i]) end
    write(#state.queue)
    for _, reservation in ipairs(state.queue) do
      write(reservation.actAt)
      for i = 1, #policy do write(reservation[i]) end
    end
  end
  if state.scales then
    flags = flags + ${SCALED}
    for _, scale in ipairs(state.scales) do
      write(scale.capacity)
      write(scale.weight)
      write(scale.fillTime)
    end
  end
  return flags
end

local function encode(policy, state)
  local numbers = { state.at }
  for i, limit in ipairs(policy) do algorithms[limit.kind].store(state, i, numbers) end
  local hasSections = state.blockedUntil > 0 or #state.marks > 0 or state.queue or state.scales
  local flags = hasSections and storeSections(policy, state, numbers) or 0
  local largest = flags == 0 and 0 or ${COMPACT_END}
  for i = 1, #numbers do
    if numbers[i] > largest then largest = numbers[i] end
  end
  if largest < ${COMPACT_END} then return pack('I${COMPACT}', numbers, 1, #numbers) end
  return pack('d', numbers, 1, #numbers) .. string.char(flags)
end

local function save(state)
  local policy = state.policy
  local ttl = lifetime(policy, state, now)
  if ttl == 0 then
    if state.stored then emptied[#emptied + 1] = state.key end
    return
  end
  local value = encode(policy, state)
  if ttl == INFINITY then
    call('SET', state.key, value)
  else
    call('SET', state.key, value, 'PX', max(ttl, leastTtl))
  end
end
`;
