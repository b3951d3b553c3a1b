"""What the split network computes, compiled: its halves, row by row, over arrays that the caller brings."""

import math
from typing import Any, Final

import numpy as np

from features.state.jit import in_place, inlined, inlined_floats

N_HABIT_FEATURES: Final = 12
"""Numbers of a habit beside its traces and what its product says of repeats."""
BLOCK: Final = 4
"""Habits whose hidden layers are computed together."""
_F: Any = np.float32
_UNIT: Final = _F(0.3)
"""What brings features of habits to about unit size."""
_SHARE_FLOOR, _LOG_FLOOR, _TOTAL_FLOOR = _F(1e-4), _F(1e-3), _F(1e-6)
_HALF, _ONE, _ZERO, _ROOT_HALF = _F(0.5), _F(1.0), _F(0.0), _F(math.sqrt(0.5))


@inlined
def _copy(out: Any, values: Any) -> None:
    for i in range(out.shape[0]):
        out[i] = values[i]


@inlined_floats
def _gelu(values: Any) -> None:
    """X * (1 + erf(x / sqrt 2)) / 2 in place, erf by the rational function of Eigen, within 3e-7."""
    for i in range(values.shape[0]):
        x = min(max(values[i] * _ROOT_HALF, _F(-4.0)), _F(4.0))
        y = x * x
        top = _F(-2.72614225801306e-10)
        top = top * y + _F(2.77068142495902e-08)
        top = top * y + _F(-2.10102402082508e-06)
        top = top * y + _F(-5.69250639462346e-05)
        top = top * y + _F(-7.34990630326855e-04)
        top = top * y + _F(-2.95459980854025e-03)
        top = top * y + _F(-1.60960333262415e-02)
        below = _F(-1.45660718464996e-05)
        below = below * y + _F(-2.13374055278905e-04)
        below = below * y + _F(-1.68282697438203e-03)
        below = below * y + _F(-7.37332916720468e-03)
        below = below * y + _F(-1.42647390514189e-02)
        values[i] = values[i] * _HALF * (_ONE + x * top / below)


@inlined
def _multiply_into(out: Any, values: Any, matrix: Any) -> None:
    """Out (M,) += values (K,) @ the first K rows of a matrix (.., M), four rows at a time, so that sums stay in registers."""
    n = values.shape[0]
    whole = n - n % 4
    for i in range(0, whole, 4):
        a, b, c, d = values[i], values[i + 1], values[i + 2], values[i + 3]
        for j in range(out.shape[0]):
            out[j] += (a * matrix[i, j] + b * matrix[i + 1, j]) + (c * matrix[i + 2, j] + d * matrix[i + 3, j])
    for i in range(whole, n):
        for j in range(out.shape[0]):
            out[j] += values[i] * matrix[i, j]


@inlined
def _multiply_block(out: Any, values: Any, matrix: Any) -> None:
    """`_multiply_into` for the four rows of `out` (4, M) and `values` (4, K)."""
    n = values.shape[1]
    out_0, out_1, out_2, out_3 = out[0], out[1], out[2], out[3]
    whole = n - n % 4
    for i in range(0, whole, 4):
        a_0, a_1, a_2, a_3 = values[0, i], values[0, i + 1], values[0, i + 2], values[0, i + 3]
        b_0, b_1, b_2, b_3 = values[1, i], values[1, i + 1], values[1, i + 2], values[1, i + 3]
        c_0, c_1, c_2, c_3 = values[2, i], values[2, i + 1], values[2, i + 2], values[2, i + 3]
        d_0, d_1, d_2, d_3 = values[3, i], values[3, i + 1], values[3, i + 2], values[3, i + 3]
        for j in range(out.shape[1]):
            w_0, w_1, w_2, w_3 = matrix[i, j], matrix[i + 1, j], matrix[i + 2, j], matrix[i + 3, j]
            out_0[j] += (a_0 * w_0 + a_1 * w_1) + (a_2 * w_2 + a_3 * w_3)
            out_1[j] += (b_0 * w_0 + b_1 * w_1) + (b_2 * w_2 + b_3 * w_3)
            out_2[j] += (c_0 * w_0 + c_1 * w_1) + (c_2 * w_2 + c_3 * w_3)
            out_3[j] += (d_0 * w_0 + d_1 * w_1) + (d_2 * w_2 + d_3 * w_3)
    for i in range(whole, n):
        for b in range(BLOCK):
            for j in range(out.shape[1]):
                out[b, j] += values[b, i] * matrix[i, j]


@in_place
def read_customers(
    weights: Any,
    log_popularity: Any,
    max_length: int,
    item: Any,
    kind: Any,
    channel: Any,
    age_days: Any,
    habit_item: Any,
    habit_weight: Any,
    habit_age_days: Any,
    habit_gap_days: Any,
    habit_count: Any,
    vector: Any,
    event_score: Any,
    habit_score: Any,
    events: Any,
    attention: Any,
    traces: Any,
    pooled: Any,
    mixed: Any,
    of_customer: Any,
    features: Any,
    first: Any,
    second: Any,
    block: Any,
) -> None:
    """Fill `vector` (n, D), `event_score` (n, S) and `habit_score` (n, H), which are zero; what follows them is scratch."""
    n_rows = weights.item.shape[0]
    dim, heads, n_traces = weights.item.shape[1], weights.forgetting.shape[0], weights.trace_rate.shape[0]
    length = item.shape[1]
    start = max(0, length - max_length)
    for row in range(item.shape[0]):
        n_events = 0
        for s in range(start, length):
            product = item[row, s]
            if product == 0:
                continue
            code, place = kind[row, s], channel[row, s]
            if product < 0 or product >= n_rows or code < 0 or code >= weights.kind.shape[0]:
                raise IndexError("an event's product or kind has no row in the network")
            if place < 0 or place >= weights.channel.shape[0]:
                raise IndexError("an event's channel has no row in the network")
            age = math.log(_ONE + max(age_days[row, s], _ZERO))
            since = _ZERO if s == start else max(age_days[row, s - 1] - age_days[row, s], _ZERO)
            gap = math.log(_ONE + since)
            for d in range(dim):
                events[n_events, d] = (
                    weights.item[product, d]
                    + weights.kind[code, d]
                    + weights.channel[place, d]
                    + age * weights.time[0, d]
                    + gap * weights.time[1, d]
                    + weights.time[2, d]
                )
            for head in range(heads):
                attention[n_events, head] = weights.relevance[dim, head] - weights.forgetting[head] * age
            for d in range(dim):
                for head in range(heads):
                    attention[n_events, head] += events[n_events, d] * weights.relevance[d, head]
            score = _ZERO
            for t in range(n_traces):
                trace = _ONE + weights.trace_kind[code, t] + weights.trace_channel[place, t]
                trace *= math.exp(-weights.trace_rate[t] * age)
                traces[n_events, t] = trace
                score += trace * weights.trace_score[t]
            event_score[row, s] = score
            n_events += 1
        pooled[:] = _ZERO
        for head in range(heads):
            top = _F(-np.inf)
            for e in range(n_events):
                top = max(top, attention[e, head])
            total = _ZERO
            for e in range(n_events):
                attention[e, head] = math.exp(attention[e, head] - top)
                total += attention[e, head]
            for e in range(n_events):
                share = attention[e, head] / total
                for d in range(dim):
                    pooled[head * dim + d] += share * events[e, d]
        _copy(mixed, weights.mix[heads * dim])
        _multiply_into(mixed, pooled, weights.mix)
        _gelu(mixed)
        _copy(vector[row], weights.summary[dim])
        _multiply_into(vector[row], mixed, weights.summary)
        _score_habits(
            weights,
            log_popularity,
            item[row, start:],
            traces,
            vector[row],
            habit_item[row],
            habit_weight[row],
            habit_age_days[row],
            habit_gap_days[row],
            habit_count[row],
            habit_score[row],
            of_customer,
            features,
            first,
            second,
            block,
        )


@inlined
def _score_habits(
    weights: Any,
    log_popularity: Any,
    item: Any,
    traces: Any,
    vector: Any,
    habit_item: Any,
    habit_weight: Any,
    habit_age_days: Any,
    habit_gap_days: Any,
    habit_count: Any,
    scores: Any,
    of_customer: Any,
    features: Any,
    first: Any,
    second: Any,
    block: Any,
) -> None:
    """One customer's habits; `traces` are of the events that are known, in their order."""
    n_traces, n_repeat = weights.trace_rate.shape[0], weights.repeat.shape[1]
    level, frequency = weights.scalars[1], weights.scalars[2]
    _copy(of_customer, weights.habit_in[features.shape[1]])
    _multiply_into(of_customer, vector, weights.context)
    total, n_habits = _ZERO, _ZERO
    for h in range(habit_item.shape[0]):
        if habit_item[h] < 0 or habit_item[h] >= weights.item.shape[0]:
            raise IndexError("a habitual product has no row in the network")
        if habit_item[h] > 0:
            n_habits += _ONE
            total += max(habit_weight[h], _ZERO)
    total += _TOTAL_FLOOR
    log_total, log_habits = math.log(total), math.log(_ONE + n_habits)
    n_block = 0
    for h in range(habit_item.shape[0]):
        product = habit_item[h]
        if product == 0:
            continue
        weight, count = max(habit_weight[h], _ZERO), max(habit_count[h], _ZERO)
        age = math.log(_ONE + max(habit_age_days[h], _ZERO))
        repeated = habit_gap_days[h] >= _ZERO
        gap = math.log(_ONE + habit_gap_days[h]) if repeated else _ZERO
        due = age - gap if repeated else _ZERO
        log_weight = math.log(weight + _LOG_FLOOR)
        values = features[n_block]
        values[0] = log_weight * _UNIT
        values[1] = math.log(weight / total + _SHARE_FLOOR) * _UNIT
        values[2] = math.log(_ONE + count) * _UNIT
        values[3] = (math.log(count + _LOG_FLOOR) - log_weight) * _UNIT
        values[4] = age * _UNIT
        values[5] = gap * _UNIT
        values[6] = _UNIT if repeated else _ZERO
        values[7] = due * _UNIT
        values[8] = math.exp(-abs(due)) * _UNIT if repeated else _ZERO
        values[9] = log_habits * _UNIT
        values[10] = log_total * _UNIT
        values[11] = log_popularity[product] * _UNIT
        for t in range(n_traces):
            values[N_HABIT_FEATURES + t] = _ZERO
        e = 0
        for s in range(item.shape[0]):
            if item[s] == product:
                for t in range(n_traces):
                    values[N_HABIT_FEATURES + t] += traces[e, t]
            if item[s] != 0:
                e += 1
        for t in range(n_traces):
            values[N_HABIT_FEATURES + t] = math.log(_ONE + max(values[N_HABIT_FEATURES + t], _ZERO))
        for r in range(n_repeat):
            values[N_HABIT_FEATURES + n_traces + r] = weights.repeat[product, r]
        scores[h] = level + frequency * log_weight
        block[n_block] = h
        n_block += 1
        if n_block == BLOCK:
            _add_hidden(weights, of_customer, features, first, second, block, n_block, scores)
            n_block = 0
    if n_block > 0:
        _add_hidden(weights, of_customer, features, first, second, block, n_block, scores)


@inlined
def _add_hidden(
    weights: Any, of_customer: Any, features: Any, first: Any, second: Any, block: Any, n: int, scores: Any
) -> None:
    """Add what the hidden layers say of the first n habits of a block: four at once, that a weight is fetched once for all."""
    hidden = of_customer.shape[0]
    for b in range(BLOCK):
        _copy(first[b], of_customer)
        _copy(second[b], weights.habit_hidden[hidden])
    _multiply_block(first, features, weights.habit_in)
    for b in range(n):
        _gelu(first[b])
    _multiply_block(second, first, weights.habit_hidden)
    for b in range(n):
        _gelu(second[b])
        found = weights.habit_out[hidden]
        for j in range(hidden):
            found += second[b, j] * weights.habit_out[j]
        scores[block[b]] += found


@in_place
def add_halves(scores: Any, base: Any, item: Any, event_score: Any, habit_item: Any, habit_score: Any) -> None:
    """Add to the products of the two halves what is everybody's, what events add, and what habits replace."""
    n_rows = scores.shape[1]
    for row in range(scores.shape[0]):
        for product in range(n_rows):
            scores[row, product] += base[product]
        for s in range(item.shape[1]):
            if item[row, s] < n_rows:
                scores[row, item[row, s]] += event_score[row, s]
        for h in range(habit_item.shape[1]):
            if habit_item[row, h] < n_rows:
                scores[row, habit_item[row, h]] = habit_score[row, h]
        scores[row, 0] = -np.inf
