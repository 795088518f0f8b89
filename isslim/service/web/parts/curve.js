// The candidates of a search: loss against parameters, as they were tried, the budget as a line.
import { html } from '../vendor/preact.js';
import { Table } from './common.js';
import { Axes, Point, linear, ticks, useWidth } from './scales.js';
import { change, count, interval, percent, short } from '../format.js';
import { W } from '../words.js';

const inWords = (point, metric) =>
  W.curve.point(
    percent(point.removed_share),
    short(point.parameters),
    change(metric, point.loss),
    point.within_budget,
    point.chosen,
  );

export function Curve({ points, whole, metric, limit, published, pick, pickName }) {
  const [element, width] = useWidth();
  const f = metric.factor;
  const finite = points.filter((each) => Number.isFinite(each.loss));
  const rows = points.map((each) => ({
    emphasis: each.chosen,
    cells: [
      percent(each.removed_share) + (each.chosen ? ` (${W.curve.chosen})` : ''),
      count(each.parameters),
      change(metric, each.loss),
      each.estimate ? interval(metric, each.estimate.low, each.estimate.high) : '',
      each.within_budget ? W.yes : W.no,
      ...(pick ? [html`<button class="quiet" onClick=${() => pick(each)}>${pickName}</button>`] : []),
    ],
  }));
  const head = [...W.curve.head(metric.label), ...(pick ? [W.curve.make] : [])];
  const table = html`<details><summary>${W.curve.asTable(points.length)}</summary>
    <${Table} label=${W.curve.table} head=${head} rows=${rows} numbers=${[1, 2, 3]} /></details>`;
  const most =
    whole || Math.max(1, ...points.map((each) => each.parameters / Math.max(0.05, 1 - each.removed_share)));
  const box = { left: 52, right: width - 16, top: 34, bottom: 290 };
  // What lost far more than is allowed stands at the upper edge: it would press all others flat.
  const losses = finite.map((each) => each.loss * f);
  const cap = limit == null ? Infinity : 4 * limit * f;
  const shownLosses = losses.filter((each) => each <= cap);
  const high = 1.15 * Math.max(1e-6, limit == null ? 0 : 1.5 * limit * f, ...shownLosses);
  const least = Math.min(0, ...losses, published ? published.loss * f : 0);
  const low = least - 0.08 * (high - least);
  const x = linear(0, (1.04 * most) / 1e6, box.left, box.right);
  const y = linear(low, high, box.bottom, box.top);
  const place = (each) => [x(each.parameters / 1e6), y(Math.min(each.loss * f, high))];
  const line = [...finite].sort((a, b) => a.parameters - b.parameters).map((each) => place(each));
  if (whole) line.push([x(whole / 1e6), y(0)]);
  return html`<div ref=${element}>
    <svg class="chart" viewBox=${`0 0 ${width} 340`} role="group" aria-label=${W.curve.title(metric.loss_name, points.length)}>
      <${Axes} box=${box} x=${x} y=${y} xTicks=${ticks(0, (1.04 * most) / 1e6, width > 480 ? 6 : 3)} yTicks=${ticks(low, high, 5)}
        xName=${W.curve.parameters} yName=${metric.axis} />
      ${
        limit != null &&
        html`<path class="budget" d=${`M${box.left} ${y(limit * f)}H${box.right}`} />
        <text x=${box.right} y=${y(limit * f) - 7} text-anchor="end">${W.tradeoff.budget(change(metric, limit))}</text>`
      }
      ${line.length > 1 && html`<path class="line" d=${`M${line.map((each) => each.join(' ')).join('L')}`} />`}
      ${whole && html`<g class="original"><rect class="dot" x=${x(whole / 1e6) - 6} y=${y(0) - 6} width="12" height="12" /></g>`}
      ${finite.map((each) => {
        const [left, top] = place(each);
        const over = each.loss * f > high;
        const bounds = !over && each.estimate;
        return html`<${Point} name=${inWords(each, metric)} act=${pick && (() => pick(each))}><g class="compressed candidate">
          ${bounds && html`<path class="whisker" d=${`M${left} ${y(Math.min(bounds.high * f, high))}V${y(bounds.low * f)}`} />`}
          ${
            over
              ? html`<path class="hollow" d=${`M${left - 6} ${top + 6}h12l-6 -11z`} />`
              : html`<circle class=${each.within_budget ? 'dot' : 'hollow'} cx=${left} cy=${top} r="6" />`
          }
          ${each.chosen && html`<circle class="ring" cx=${left} cy=${top} r="11" />`}</g></${Point}>`;
      })}
      ${
        published &&
        published.loss != null &&
        html`<${Point} name=${W.curve.published(published.name, change(metric, published.loss))}>
        <g class="baseline"><path class="dot"
          d=${`M${x(published.parameters / 1e6)} ${y(Math.min(published.loss * f, high)) - 8}l8 8l-8 8l-8 -8z`} /></g></${Point}>`
      }
    </svg></div>
    <p class="muted small">${W.curve.reading(Boolean(published), Boolean(pick))}</p>${table}`;
}
