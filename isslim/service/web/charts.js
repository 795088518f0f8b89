// Charts: scales and axes, the trade-off, the candidates of a search, the epochs of learning.
import {
  html,
  primaryOf,
  useEffect,
  useRef,
  useState,
  Table,
  bytes,
  change,
  interval,
  milliseconds,
  ratio,
  times,
  W,
  count,
  percent,
  short,
  duration,
  figure,
} from './page.js';

// Scales and axes of charts, drawn at the width that there is: letters keep their size on any screen.

export function useWidth() {
  const element = useRef(null);
  const [width, setWidth] = useState(640);
  useEffect(() => {
    const seen = new ResizeObserver(([entry]) =>
      setWidth(Math.max(260, Math.round(entry.contentRect.width))),
    );
    if (element.current) seen.observe(element.current);
    return () => seen.disconnect();
  }, []);
  return [element, width];
}

export const Chart = ({ at, width, height, role = 'group', label, children }) => html`<div ref=${at}>
  <svg class="chart" viewBox=${`0 0 ${width} ${height}`} role=${role} aria-label=${label}>${children}</svg></div>`;

// Round numbers within a range, about `many` of them.
export function ticks(low, high, many) {
  const raw = (high - low) / many || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= raw - 1e-12);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) found.push(at * step);
  return found;
}

export function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    // Within a short span there would be one of them, or none.
    for (const each of high < 4 * low ? [1, 1.5, 2, 3, 4, 6, 8] : [1, 2, 5]) found.push(each * 10 ** power);
  }
  return found.filter((each) => each >= low && each <= high);
}

export const linear = (low, high, from, to) => (value) =>
  from + ((value - low) / (high - low || 1)) * (to - from);
export const logarithmic = (low, high, from, to) => {
  const inner = linear(Math.log(low), Math.log(high), from, to);
  return (value) => inner(Math.log(value));
};

const trimmed = (value) => Number(value.toPrecision(6)).toLocaleString('en').replace('-', '\u2212');

export function Axes({ box, x, y, xTicks, yTicks, xName, yName }) {
  return html`<g>
    ${yTicks.map(
      (each) => html`<path class="axis" d=${`M${box.left} ${y(each)}H${box.right}`} />
      <text x=${box.left - 8} y=${y(each) + 4} text-anchor="end">${trimmed(each)}</text>`,
    )}
    ${xTicks.map(
      (each) => html`<path class="axis" d=${`M${x(each)} ${box.bottom}v5`} />
      <text x=${x(each)} y=${box.bottom + 19} text-anchor="middle">${trimmed(each)}</text>`,
    )}
    <path class="axis" d=${`M${box.left} ${box.bottom}H${box.right}`} />
    <text x=${(box.left + box.right) / 2} y=${box.bottom + 38} text-anchor="middle">${xName}</text>
    <text x="0" y="14">${yName}</text></g>`;
}

// The limit that a loss has to keep to; of a budget of something else there is none.
const Limit = ({ limit, metric, box, y }) =>
  html`<g>${
    limit != null &&
    html`<path class="budget" d=${`M${box.left} ${y}H${box.right}`} />
    <text x=${box.right} y=${y - 7} text-anchor="end">${W.tradeoff.budget(change(metric, limit))}</text>`
  }</g>`;

// A point that can be focused, and pressed where it does something; its name says all of it.
export function Point({ name, act, children }) {
  const press = (event) => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    act();
  };
  return html`<g tabindex="0" role=${act ? 'button' : 'img'} aria-label=${name} onClick=${act}
    onKeyDown=${act && press}><title>${name}</title>${children}</g>`;
}

// The trade-off in one picture: quality lost against time, a dot a variant, and the budget as a line.

const QUALITY = ['perplexity_rise', 'f1_fall', 'output_change', 'loss'];
// The loss that the recipe allows, or the kind's usual one; null: the budget is of something else.
export function allowed(recipe, kind) {
  const found = QUALITY.map((each) => recipe.budget[each]).find((each) => each != null);
  if (found != null) return found;
  if (recipe.budget.size_ratio != null || recipe.budget.speedup != null) return null;
  return kind ? kind.default_budget : null;
}

// What counts of a timed run: where others were at work, the processor's time.
export const clock = (found) =>
  found.basis === 'cpu' && found.cpu_ms != null ? found.cpu_ms : found.median_ms;

// What is drawn of every variant that was timed: its time, its loss, and the intervals of both.
export function placesOf(manifest) {
  const [original] = manifest.variants;
  return manifest.variants
    .filter((each) => each.latency.length)
    .map((variant) => {
      const primary = primaryOf(variant.latency);
      const whole = primaryOf(original.latency);
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
    place.faster == null ? W.tiles.notSteady : times(place.faster),
    smaller,
    change(metric, place.loss),
  ];
  const name = place.variant.name === 'original-int8' ? W.tradeoff.baseline : place.variant.name;
  return [name, figures.join(', ')];
}

export const CLASSES = { original: 'original', 'original-int8': 'baseline' };

// Labels beside their dots, or as near as they cover neither each other nor another dot. On a narrow
// screen they are names alone: the figures stand in the table.
function labelled(places, x, y, box, metric, narrow) {
  const [height, letter, beside] = [narrow ? 16 : 32, 6.3, 24];
  const dots = places.map((place) => [x(place.time), y(place.loss)]);
  const taken = dots.map(([at, top]) => [at - 14, top - 14, at + 14, top + 14]);
  for (const each of places) {
    const at = x(each.time);
    if (each.low != null) taken.push([at - 2, y(each.high), at + 2, y(each.low)]);
  }
  const meets = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const steps = Array.from({ length: 19 }, (_, at) => (at % 2 ? (at + 1) / 2 : -at / 2));
  return places.map((place, index) => {
    const [at, top] = dots[index];
    const [name, figures] = inShort(place, metric);
    const lines = narrow
      ? [place.variant.name === 'original-int8' ? W.tradeoff.alone : name]
      : [name, figures];
    const width = letter * Math.max(...lines.map((each) => each.length));
    const sides = at + beside + width < box.right ? [1, -1] : [-1, 1];
    const choices = steps.flatMap((step) => sides.map((side) => [side, top + (step * height) / 2]));
    const boxOf = ([side, middle]) => {
      const near = at + side * beside;
      const edges = [near, near + side * width];
      return [Math.min(...edges), middle - height / 2, Math.max(...edges), middle + height / 2];
    };
    const isFree = (choice) => {
      const own = boxOf(choice);
      return (
        own[0] >= 0 &&
        own[2] <= box.right + 16 &&
        own[1] >= box.top - 10 &&
        own[3] <= box.bottom &&
        !taken.some((each) => meets(own, each))
      );
    };
    const chosen = choices.find(isFree) || choices[0];
    taken.push(boxOf(chosen));
    return { lines, at, y: chosen[1], right: chosen[0] > 0 };
  });
}

export function TradeOff({ manifest, metric, kind }) {
  const [element, width] = useWidth();
  const places = placesOf(manifest).filter((each) => each.loss != null);
  const rows = manifest.variants.map((variant, at) => {
    const place = places.find((each) => each.variant === variant);
    const quality = variant.quality || {};
    const cells = [
      variant.name,
      place ? milliseconds(place.time) : '',
      variant.speedup == null ? (at && variant.latency.length ? W.tiles.notSteady : '') : times(variant.speedup),
      variant.speedup == null ? '' : W.interval(ratio(variant.speedup_low), ratio(variant.speedup_high)),
      bytes(variant.size_bytes),
      change(metric, quality.loss),
      interval(metric, quality.low, quality.high),
    ];
    return { cells, emphasis: variant.recommended };
  });
  const table = html`<${Table} label=${W.tradeoff.table} head=${W.tradeoff.head(W.changeOf(metric))} rows=${rows} numbers=${[1, 2, 3, 4, 5, 6]} />`;
  if (places.length < 2) {
    const few = rows.length < 2 ? W.tiles.single : W.tiles.untimed;
    const why = manifest.variants.slice(1).some((each) => !each.quality) ? W.tradeoff.nothing : few;
    return html`<p class="muted">${why}</p>${table}`;
  }
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
  const primary = primaryOf(manifest.variants[0].speeds);
  const title = W.tradeoff.title(metric.loss_name);
  return html`<${Chart} at=${element} width=${width} height="380" label=${title}>
      <${Axes} box=${box} x=${x} y=${(each) => y(each / f)} xTicks=${logTicks(first, last)} yTicks=${ticks(low, high, 5)}
        xName=${W.tradeoff.time(width > 480 && primary ? primary.run : '')} yName=${metric.axis} />
      <${Limit} limit=${limit} metric=${metric} box=${box} y=${y(limit)} />
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
      ${labelled(places, x, y, box, metric, width < 480).map(
        ({ lines, at, y: top, right }) => html`<g aria-hidden="true">
        ${lines.map(
          (
            line,
            row,
          ) => html`<text class=${row ? '' : 'strong'} x=${at + (right ? 26 : -26)} y=${top + 14 * row + (lines.length > 1 ? -3 : 4)}
          text-anchor=${right ? 'start' : 'end'}>${line}</text>`,
        )}</g>`,
      )}
    </${Chart}>
    <p class="muted small">${W.tradeoff.reading}</p>
    ${table}`;
}

// The candidates of a search: loss against parameters, as they were tried, the budget as a line.

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
  const head = [...W.curve.head(W.changeOf(metric)), ...(pick ? [W.curve.make] : [])];
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
  return html`<${Chart} at=${element} width=${width} height="340" label=${W.curve.title(metric.loss_name, points.length)}>
      <${Axes} box=${box} x=${x} y=${y} xTicks=${ticks(0, (1.04 * most) / 1e6, width > 480 ? 6 : 3)} yTicks=${ticks(low, high, 5)}
        xName=${W.curve.parameters} yName=${metric.axis} />
      <${Limit} limit=${limit} metric=${metric} box=${box} y=${y(limit * f)} />
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
    </${Chart}>
    <p class="muted small">${W.curve.reading(Boolean(published), Boolean(pick))}</p>${table}`;
}

// Learn mode, epoch by epoch: the held-out value, and how many components are left.

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
  return html`<${Chart} at=${element} width=${width} height="290" role="img" label=${W.learning.chart(metric.label)}>
      <${Axes} box=${box} x=${x} y=${y} xTicks=${ticks(1, Math.max(2, epochs.length), 6).filter(Number.isInteger)}
        yTicks=${ticks(low - room, high + room, 5)} xName=${W.learning.epoch} yName=${W.learning.held(metric.label)} />
      <path class="line" d=${`M${places.map(([left, top]) => `${left} ${top}`).join('L')}`} />
      ${places.map(([left, top]) => html`<g class="compressed"><circle class="dot" cx=${left} cy=${top} r="4" /></g>`)}
    </${Chart}>
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
