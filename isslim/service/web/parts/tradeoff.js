// The trade-off in one picture: quality lost against time, a dot a variant, and the budget as a line.
import { html } from '../vendor/preact.js';
import { Table } from './common.js';
import { Axes, Point, linear, logTicks, logarithmic, ticks, useWidth } from './scales.js';
import { bytes, change, interval, milliseconds, ratio, times } from '../format.js';
import { W } from '../words.js';

const QUALITY = ['perplexity_rise', 'f1_fall', 'output_change', 'loss'];
// The loss that the recipe allows, or the kind's usual one; null: the budget is of something else.
export function allowed(recipe, kind) {
  const found = QUALITY.map((each) => recipe.budget[each]).find((each) => each != null);
  if (found != null) return found;
  if (recipe.budget.size_ratio != null || recipe.budget.speedup != null) return null;
  return kind ? kind.default_budget : null;
}

const clock = (found) => (found.basis === 'cpu' && found.cpu_ms != null ? found.cpu_ms : found.median_ms);

// What is drawn of every variant that was timed: its time, its loss, and the intervals of both.
export function placesOf(manifest) {
  const [original] = manifest.variants;
  return manifest.variants
    .filter((each) => each.latency.length)
    .map((variant) => {
      const primary = variant.latency.find((each) => each.primary) || variant.latency[0];
      const whole = original.latency.find((each) => each.primary) || original.latency[0];
      const steady = variant !== original && variant.speedup != null;
      const loss = variant === original ? 0 : variant.quality ? variant.quality.loss : null;
      return {
        variant,
        loss,
        time: clock(primary),
        smaller: original.size_bytes / variant.size_bytes,
        faster: steady ? variant.speedup : null,
        early: steady ? clock(whole) / variant.speedup_high : null,
        late: steady ? clock(whole) / variant.speedup_low : null,
        low: variant.quality && variant.quality.low,
        high: variant.quality && variant.quality.high,
      };
    });
}

function inShort(place, metric) {
  if (place.variant.name === 'original') return [W.tradeoff.original, milliseconds(place.time)];
  const smaller =
    place.smaller >= 1
      ? W.tradeoff.smaller(times(place.smaller))
      : W.tradeoff.larger(times(1 / place.smaller));
  const figures = [
    place.faster == null ? W.tradeoff.notSteady : times(place.faster),
    smaller,
    change(metric, place.loss),
  ];
  const name = place.variant.name === 'original-int8' ? W.tradeoff.baseline : place.variant.name;
  return [name, figures.join(', ')];
}

const CLASSES = { original: 'original', 'original-int8': 'baseline' };

// Labels beside their dots, moved down where they would cover each other.
function labelled(places, x, y, box, metric) {
  const found = places
    .map((place) => {
      const at = x(place.time);
      const right = at < (box.left + box.right) / 2;
      return { lines: inShort(place, metric), at, y: y(place.loss), right };
    })
    .sort((a, b) => a.y - b.y);
  for (const side of [true, false]) {
    const here = found.filter((each) => each.right === side);
    let edge = box.top - 22;
    for (const each of here) edge = each.y = Math.max(each.y, edge + 34);
    edge = box.bottom + 10;
    for (const each of [...here].reverse()) edge = each.y = Math.min(each.y, edge - 34);
  }
  return found;
}

export function TradeOff({ manifest, metric, kind }) {
  const [element, width] = useWidth();
  const places = placesOf(manifest).filter((each) => each.loss != null);
  const rows = manifest.variants.map((variant) => {
    const place = places.find((each) => each.variant === variant);
    const quality = variant.quality || {};
    const [, spread] = [
      0,
      variant.speedup == null ? '' : W.interval(ratio(variant.speedup_low), ratio(variant.speedup_high)),
    ];
    const cells = [
      variant.name,
      place ? milliseconds(place.time) : '',
      variant.speedup == null ? '' : times(variant.speedup),
      spread,
      bytes(variant.size_bytes),
      change(metric, quality.loss),
      interval(metric, quality.low, quality.high),
    ];
    return { cells, emphasis: variant.recommended };
  });
  const table = html`<${Table} label=${W.tradeoff.table} head=${W.tradeoff.head(metric.label)} rows=${rows} numbers=${[1, 2, 3, 4, 5, 6]} />`;
  if (places.length < 2) return html`<p class="muted">${W.tradeoff.nothing}</p>${table}`;
  const limit = allowed(manifest.recipe, kind);
  const box = { left: 52, right: width - 16, top: 34, bottom: 330 };
  const f = metric.factor;
  const losses = places.flatMap((each) =>
    [each.loss, each.low ?? each.loss, each.high ?? each.loss].map((one) => one * f),
  );
  const most = Math.max(...losses, limit == null ? 0 : limit * f, 1e-6);
  const least = Math.min(0, ...losses);
  const [low, high] = [least - 0.12 * (most - least), most + 0.15 * (most - least)];
  const spans = places.flatMap((each) => [each.time, each.early ?? each.time, each.late ?? each.time]);
  const [first, last] = [Math.min(...spans) / 1.3, Math.max(...spans) * 1.3];
  const x = logarithmic(first, last, box.left, box.right);
  const y = (loss) => linear(low, high, box.bottom, box.top)(loss * f);
  const largest = Math.max(...manifest.variants.map((each) => each.size_bytes));
  const radius = (variant) => 4 + 12 * Math.sqrt(variant.size_bytes / largest);
  const primary = manifest.variants[0].speeds.find((each) => each.primary);
  const title = W.tradeoff.title(metric.loss_name);
  return html`<div ref=${element}>
    <svg class="chart" viewBox=${`0 0 ${width} 380`} role="group" aria-label=${title}>
      <${Axes} box=${box} x=${x} y=${(each) => y(each / f)} xTicks=${logTicks(first, last)} yTicks=${ticks(low, high, 5)}
        xName=${W.tradeoff.time(width > 480 && primary ? primary.run : '')} yName=${metric.axis} />
      ${
        limit != null &&
        html`<path class="budget" d=${`M${box.left} ${y(limit)}H${box.right}`} />
        <text x=${box.right} y=${y(limit) - 7} text-anchor="end">${W.tradeoff.budget(change(metric, limit))}</text>`
      }
      ${places.map(
        (place) => html`<${Point} key=${place.variant.name} name=${inShort(place, metric).join(': ')}>
        <g class=${CLASSES[place.variant.name] || 'compressed'}>
          <circle class=${place.variant.name === 'original-int8' ? 'hollow' : 'dot'} cx=${x(place.time)} cy=${y(place.loss)}
            r=${radius(place.variant)} fill-opacity="0.75" />
          ${place.early && html`<path class="whisker" d=${`M${x(place.early)} ${y(place.loss)}H${x(place.late)}`} />`}
          ${place.low != null && html`<path class="whisker" d=${`M${x(place.time)} ${y(place.low)}V${y(place.high)}`} />`}
          ${place.variant.recommended && html`<circle class="ring" cx=${x(place.time)} cy=${y(place.loss)} r=${radius(place.variant) + 5} />`}
        </g></${Point}>`,
      )}
      ${labelled(places, x, y, box, metric).map(
        ({ lines, at, y: top, right }) => html`<g aria-hidden="true">
        ${lines.map(
          (
            line,
            row,
          ) => html`<text class=${row ? '' : 'strong'} x=${at + (right ? 26 : -26)} y=${top + 14 * row - 3}
          text-anchor=${right ? 'start' : 'end'}>${line}</text>`,
        )}</g>`,
      )}
    </svg></div>
    <p class="muted small">${W.tradeoff.reading}</p>
    ${table}`;
}
