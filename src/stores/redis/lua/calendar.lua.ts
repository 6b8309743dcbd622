import { LONGEST_PERIODS } from '../../../core/algorithms/calendar-periods.js';

/** The twin of core/algorithms/calendar.ts. */
export const CALENDAR = `
do
  -- A limit has no periods here, but two of them, which follow each other: the start of the first, their boundary and the
  -- end of the second are its refill, period and slot.
  local LONGEST_PERIODS = { ${LONGEST_PERIODS.join(', ')} }

  -- When the period ends that contains an instant; 0 if the limit does not have that period.
  local function endAt(limit, at)
    if at < limit.refill or at >= limit.slot then return 0 end
    return at < limit.period and limit.period or limit.slot
  end

  local function periodEnd(limit, state, i)
    return state[i].used > 0 and state[i].endsAt or endAt(limit, state.at)
  end

  local function timeToEnd(state, i) return state[i].used > 0 and state[i].endsAt - state.at or 0 end

  local function subtract(usage, amount) usage.used = max(0, usage.used - amount) end

  local function usedNow(state, i)
    local used = state[i].used
    for _, reservation in ipairs(state.queue or {}) do used = used - reservation[i] end
    return max(0, used)
  end

  -- state[i] is { used = …, endsAt = … }.
  algorithms[CALENDAR] = {
    new = function() return { used = 0, endsAt = 0 } end,
    -- The longest period of the unit that the two periods have.
    fillTime = function(limit)
      for _, longest in ipairs(LONGEST_PERIODS) do
        if limit.slot - limit.refill <= 2 * longest then return longest end
      end
    end,
    -- Whether the limit has the period of an instant.
    covers = function(limit, at) return endAt(limit, at) > 0 end,
    advance = function(_, state, i, now)
      if state[i].endsAt <= now then state[i].used = 0 end
    end,
    wait = function(limit, state, i, amount)
      if state[i].used + amount <= limit.capacity then return 0 end
      if amount > limit.capacity then return INFINITY end
      return timeToEnd(state, i)
    end,
    horizon = function(limit, state, i) return periodEnd(limit, state, i) - state.at end,
    take = function(limit, state, i, amount)
      local usage = state[i]
      usage.endsAt = periodEnd(limit, state, i)
      usage.used = min(usage.used + amount, MAX_SAFE_INTEGER)
    end,
    refund = function(_, state, i, amount, mark)
      if not mark or mark == state[i].endsAt then subtract(state[i], min(amount, usedNow(state, i))) end
    end,
    newMark = endAt,
    isSpent = function(_, state, i, mark) return state[i].used == 0 or mark ~= state[i].endsAt end,
    cancel = function(_, state, i, amount) subtract(state[i], amount) end,
    used = function(_, state, i) return state[i].used end,
    timeToFull = function(_, state, i) return timeToEnd(state, i) end,
    timeToNext = function(_, state, i) return timeToEnd(state, i) end,
    replace = function(limit, state, i, from, strategy)
      local balance = from.limit.capacity - from.state[from.k].used
      state[i].used = carriedDebt(from.limit, balance, limit, strategy)
      state[i].endsAt = endAt(limit, state.at)
    end,
    load = function(state, i, numbers, place)
      local used, endsAt = numbers[place], numbers[place + 1]
      state[i] = { used = used, endsAt = endsAt }
      return used and endsAt and place + 2
    end,
    store = function(state, i, numbers)
      numbers[#numbers + 1] = state[i].used
      numbers[#numbers + 1] = state[i].endsAt
    end,
  }
end
`;
