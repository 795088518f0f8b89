// Learn mode, epoch by epoch: the held-out value, and how many components are left.
import { html } from '../vendor/preact.js';
import { Table } from './common.js';
import { Axes, linear, ticks, useWidth } from './scales.js';
import { count, duration, figure } from '../format.js';
import { W } from '../words.js';

const sum = (units) => Object.values(units).reduce((total, each) => total + each, 0);

export function Learning({ epochs, metric }) {
  const [element, width] = useWidth();
  const values = epochs.map((each) => each.held_out_value).filter(Number.isFinite);
  const box = { left: 56, right: width - 16, top: 34, bottom: 240 };
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = 0.1 * (high - low || high || 1);
  const x = linear(1, Math.max(2, epochs.length), box.left + 8, box.right);
  const y = linear(low - room, high + room, box.bottom, box.top);
  const places = epochs
    .map((each, at) => [x(at + 1), y(each.held_out_value), each])
    .filter(([, top]) => Number.isFinite(top));
  return html`<div ref=${element}><svg class="chart" viewBox=${`0 0 ${width} 290`} role="img" aria-label=${W.learning.chart(metric.label)}>
      <${Axes} box=${box} x=${x} y=${y} xTicks=${ticks(1, Math.max(2, epochs.length), 6).filter(Number.isInteger)}
        yTicks=${ticks(low - room, high + room, 5)} xName=${W.learning.epoch} yName=${W.learning.held(metric.label)} />
      <path class="line" d=${`M${places.map(([left, top]) => `${left} ${top}`).join('L')}`} />
      ${places.map(([left, top]) => html`<g class="compressed"><circle class="dot" cx=${left} cy=${top} r="4" /></g>`)}
    </svg></div>
    <${Table} label=${W.learning.title} head=${W.learning.head} numbers=${[1, 2, 3, 4]} rows=${epochs.map(
      (each, at) => [
        at + 1,
        each.round,
        count(sum(each.units)),
        figure(each.training_value),
        figure(each.held_out_value),
        duration(each.seconds),
      ],
    )} />`;
}
