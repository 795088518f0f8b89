// One model: what was gained, its trade-off, its speed here, and tabs for all that is known of it.
import {
  html,
  bestOf,
  Lazy,
  primaryOf,
  route,
  screen,
  Waiting,
  Tile,
  bytes,
  change,
  count,
  exponent,
  interval,
  ratio,
  signed,
  times,
  W,
  useState,
  get,
  post,
  Problem,
  percent,
  Table,
  milliseconds,
  when,
  kinds,
  Tabs,
  useLoaded,
  useTitle,
  metricOf,
} from '../page.js';
import { Chart, CLASSES, Curve, TradeOff, allowed, Axes, Point, linear, ticks, useWidth } from '../charts.js';

// What was gained in four tiles: time, size, quality, and whether it is proven.

// The time of a variant against the original, or why there is none.
export function speedTile(variant, id) {
  const primary = primaryOf(variant.speeds);
  if (variant.speedup == null) {
    const note = html`${primary ? W.tiles.apart : W.tiles.untimed} ${
      id && html`<a href=${screen('models', id, 'speed')}>${W.tiles.measure}</a>`
    }`;
    return { value: '\u2013', label: W.tiles.unknown, note };
  }
  const alone =
    variant.over_int8 && variant.name !== 'original-int8'
      ? W.tiles.overInt8(times(variant.over_int8.median))
      : '';
  return {
    value: times(variant.speedup),
    label: W.tiles.fast(primary ? primary.run : ''),
    note: [W.interval(ratio(variant.speedup_low), ratio(variant.speedup_high)), alone]
      .filter(Boolean)
      .join('; '),
  };
}

export function sizeTile(variant, original) {
  const smaller = original.size_bytes / variant.size_bytes;
  return {
    value: times(smaller >= 1 ? smaller : 1 / smaller),
    label: smaller >= 1 ? W.tiles.smaller : W.tiles.larger,
    note: `${bytes(original.size_bytes)} \u2192 ${bytes(variant.size_bytes)}`,
  };
}

// A unit that is a word stands smaller than its figure.
function withUnit(text) {
  const [figure, unit] = text.split('\u202f');
  return unit && unit.length > 1 ? html`${figure} <small>${unit}</small>` : text;
}

function qualityTile(variant, original, metric) {
  const found = variant.quality;
  if (!found) return { value: '\u2013', label: W.tiles.notEvaluated(metric.label) };
  const sample = [
    interval(metric, found.low, found.high),
    found.count && `${count(found.count)} ${found.unit}`,
  ];
  const before = original.quality && original.quality.value;
  const values = before == null ? '' : ` ${value(metric, before)} \u2192 ${value(metric, found.value)}`;
  return {
    value: withUnit(change(metric, found.loss)),
    label: metric.worse ? metric.label + values : metric.loss_name,
    note: sample.filter(Boolean).join(', '),
  };
}

// A share is shown as the metric's changes are, in points of 100.
const value = (metric, of) =>
  metric.unit === 'points' && metric.factor === 100 ? (100 * of).toFixed(2) : of.toFixed(of >= 1000 ? 0 : 2);

// Of two values: of a metric whose loss is relative their plain difference, else as its changes are shown.
export const difference = (metric, of) =>
  metric.unit === '%' && metric.worse
    ? signed(of)
    : change({ ...metric, worse: metric.worse && 'higher' }, of);

function gains(variants, metric, id) {
  const [original] = variants;
  const best = bestOf(variants);
  return best === original
    ? [{ value: '\u2013', label: W.tiles.single }]
    : [speedTile(best, id), sizeTile(best, original), qualityTile(best, original, metric)];
}

export function Verdict({ id, manifest, metric }) {
  const worst = Math.max(0, ...manifest.checks.map((each) => each.error));
  return html`<div class="tiles" role="group" aria-label=${W.tiles.group(bestOf(manifest.variants).name)}>
    ${gains(manifest.variants, metric, id).map((each) => html`<${Tile} ...${each} />`)}
    <${Tile} value=${manifest.checks.length ? `\u2713 ${manifest.checks.length}` : '\u2013'}
      label=${manifest.checks.length ? W.tiles.proofs : W.tiles.noProof}
      note=${manifest.checks.length ? W.tiles.error(exponent(worst)) : ''} />
  </div>`;
}

export function CardTiles({ summary, metric }) {
  return html`<dl class="mini">${gains(summary.variants, metric).map(
    ({ value: shown, label }) => html`<div><dt>${label}</dt><dd>${shown}</dd></div>`,
  )}</dl>`;
}

// What quality was lost for what time and size: the variants, and every candidate that was tried.

export function Make({ job, name: from, share, close }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const ratio = Math.min(0.999, share);
  const name = `${from.slice(0, 61)}-${Math.round(100 * ratio)}`;
  const start = async () => {
    setBusy(true);
    try {
      const made = await job();
      if (!made) throw new Error(W.make.noJob);
      const changes = { name, budget: { size_ratio: Number(ratio.toFixed(4)) } };
      const { id } = await post(route('jobs', made.id, 'again'), { changes });
      location.hash = `#/jobs/${id}`;
    } catch (found) {
      setProblem(found);
      setBusy(false);
    }
  };
  return html`<section class="card" aria-live="polite"><h3>${W.make.title}</h3>
    <p>${W.make.text(percent(ratio), name)}</p>
    <p class="row wrap"><button class="primary" onClick=${start} disabled=${busy}>${W.make.start}</button>
      <button onClick=${close}>${W.cancel}</button></p><${Problem} problem=${problem} /></section>`;
}

export function TradeOffTab({ id, manifest, report, metric, kind }) {
  const [picked, setPicked] = useState(null);
  const whole = manifest.variants[0].parameters;
  const small = manifest.variants.find((each) => each.name === 'compressed');
  const published = small &&
    small.quality && { name: small.name, parameters: small.parameters, loss: small.quality.loss };
  return html`<h2>${W.tradeoff.heading}</h2>
    <${TradeOff} manifest=${manifest} metric=${metric} kind=${kind} />
    <h2>${W.curve.heading}</h2><p>${report.allocation ? `${report.allocation.reason}.`.replace(/^./, (each) => each.toUpperCase()) : ''}</p>
    <${Curve} points=${report.curve} whole=${whole} metric=${metric} limit=${allowed(manifest.recipe, kind)}
      published=${published} pick=${setPicked} pickName=${W.curve.makeThis} />
    ${
      picked &&
      html`<${Make} key=${picked.parameters} job=${async () => (await get(`/jobs?model_id=${id}`))[0]}
      name=${manifest.name} share=${picked.parameters / whole} close=${() => setPicked(null)} />`
    }`;
}

// Latency measured live on this host, all variants in turn, with the interval of each ratio.

function Ratios({ manifest, results, device, against }) {
  const [element, width] = useWidth();
  const rows = Object.entries(results)
    .map(([name, records]) => {
      const found = records.find((each) => each.device === device);
      const over =
        against === 'original'
          ? found && { median: found.speedup, low: found.speedup_low, high: found.speedup_high }
          : found && found.against_int8;
      const steady = found && found.steady;
      const why = steady ? W.speed.without : W.tiles.notSteady;
      return { name, found, over: steady ? over : null, why: manifest.variants.length > 1 ? why : W.tiles.single };
    })
    .filter((each) => each.found);
  const drawn = rows.filter((each) => each.over);
  const high = 1.08 * Math.max(1, ...drawn.map((each) => each.over.high));
  const names = 130;
  const box = { left: names, right: width - 12, top: 30, bottom: 40 + 34 * drawn.length };
  const x = linear(0, high, box.left, box.right);
  // Where nothing can be drawn the table says why.
  return html`<${Chart} at=${element} width=${width} height=${drawn.length ? box.bottom + 46 : 1} label=${W.speed.chart}>
    ${drawn.length > 0 && html`<${Axes} box=${box} x=${x} y=${() => box.bottom} xTicks=${ticks(0, high, width > 480 ? 6 : 3)} yTicks=${[]}
      xName=${against === 'original' ? W.speed.axis : W.speed.axisInt8} yName="" />
    <path class="budget" d=${`M${x(1)} ${box.top - 8}V${box.bottom}`} />`}
    ${drawn.map(({ name, over }, at) => {
      const y = 48 + 34 * at;
      return html`<${Point} name=${W.speed.point(name, times(over.median), ratio(over.low), ratio(over.high))}>
        <text class="strong" x=${names - 12} y=${y + 4} text-anchor="end">${name}</text>
        <g class=${CLASSES[name] || 'compressed'}><path class="whisker" d=${`M${x(over.low)} ${y - 5}v10m0 -5H${x(over.high)}m0 -5v10`} />
        <circle class="dot" cx=${x(over.median)} cy=${y} r="6" /></g></${Point}>`;
    })}</${Chart}>
    <${Table} label=${W.speed.chart} head=${W.speed.head} numbers=${[1, 2, 3, 4]} rows=${rows.map(
      ({ name, found, over, why }) => [
        name,
        milliseconds(found.median_ms),
        milliseconds(found.p90_ms),
        over ? times(over.median) : why,
        over ? W.interval(ratio(over.low), ratio(over.high)) : '',
      ],
    )} />`;
}

export function Speed({ id, manifest, kind }) {
  const recorded = manifest.task === 'graph';
  const [asked, setAsked] = useState({
    steps: recorded ? '' : 30,
    batch: recorded ? '' : 1,
    run: recorded ? 'median' : '',
  });
  const [against, setAgainst] = useState('original');
  const [state, setState] = useState({ history: [] });
  const measure = async (event) => {
    event.preventDefault();
    setState((before) => ({ ...before, busy: true, problem: null }));
    const chosen = Object.entries({ ...asked, refresh: 'true' }).filter(([, value]) => value !== '');
    try {
      const found = await get(`${route('models', id, 'latency')}?${new URLSearchParams(chosen)}`);
      setState((before) => ({ history: [{ ...found, asked }, ...before.history].slice(0, 12) }));
    } catch (problem) {
      setState((before) => ({ ...before, busy: false, problem }));
    }
  };
  const [latest] = state.history;
  const devices = latest
    ? [
        ...new Set(
          Object.values(latest.results)
            .flat()
            .map((each) => each.device),
        ),
      ]
    : [];
  const field = (
    name,
    most,
  ) => html`<label>${W.speed[name]}<input type="number" min="1" max=${most} value=${asked[name]}
    onInput=${(event) => setAsked({ ...asked, [name]: event.target.value })} /></label>`;
  return html`<h2>${W.speed.heading}</h2><p>${W.speed.text}</p>
    <form class="row wrap" onSubmit=${measure}>${field('steps', 1000)} ${field('batch', 256)}
      ${
        recorded &&
        html`<label>${W.speed.run}<select value=${asked.run} onChange=${(event) => setAsked({ ...asked, run: event.target.value })}>
        ${['smallest', 'median', 'largest'].map((each) => html`<option value=${each}>${each}</option>`)}</select></label>`
      }
      <label>${W.speed.against}<select value=${against} onChange=${(event) => setAgainst(event.target.value)}>
        <option value="original">${W.speed.original}</option><option value="int8">${W.speed.int8}</option></select></label>
      <button class="primary" disabled=${state.busy}>${state.busy ? W.speed.busy : latest ? W.speed.again : W.speed.begin}</button></form>
    <p aria-live="polite" class="muted small">${state.busy ? W.speed.wait : latest ? W.speed.measured(when(latest.measured_at)) : ''}</p>
    <${Problem} problem=${state.problem} />
    ${devices.map(
      (device) => html`<h3>${device}</h3>
      <${Ratios} manifest=${manifest} results=${latest.results} device=${device} against=${against} />`,
    )}
    ${
      state.history.length > 1 &&
      html`<h3>${W.speed.history}</h3><${Table} label=${W.speed.history} head=${W.speed.historyHead}
      rows=${state.history.map((each) => [
        when(each.measured_at),
        [each.asked.run, each.asked.steps, each.asked.batch].filter(Boolean).join(' \u00d7 '),
        Object.entries(each.results)
          .map(([name, [first]]) =>
            first && first.steady && name !== 'original' ? `${name} ${times(first.speedup)}` : '',
          )
          .filter(Boolean)
          .join(', '),
      ])} />`
    }
    <h2>${W.speed.published}</h2>
    ${
      manifest.variants.slice(1).every((each) => !each.speeds.length) &&
      html`<p>${manifest.variants.length > 1 ? W.tiles.untimed : W.tiles.single}</p>`
    }
    <${Table} label=${W.speed.published} head=${W.speed.publishedHead} numbers=${[2, 3]}
      rows=${manifest.variants.flatMap((variant) =>
        variant.speeds
          .map((each) => [
            each.run,
            variant.name,
            each.over_original
              ? `${times(each.over_original.median)} (${ratio(each.over_original.low)}\u2013${ratio(each.over_original.high)})`
              : W.tiles.notSteady,
            each.over_int8
              ? `${times(each.over_int8.median)} (${ratio(each.over_int8.low)}\u2013${ratio(each.over_int8.high)})`
              : '\u2013',
          ])
          .filter(() => variant.name !== 'original'),
      )} />`;
}

// One model: what was gained, and behind tabs everything that is known of it.

const TABS = Object.entries(W.model.tabs);
const TRY = {
  'language-model': ['text', 'TryText'],
  'question-answering': ['questions', 'TryQuestions'],
  graph: ['graph', 'TryGraph'],
};
// Of each tab the module that it is in, and its name there.
const PLACES = {
  tradeoff: ['model', 'TradeOffTab'],
  speed: ['model', 'Speed'],
  layers: ['reading', 'Layers'],
  proof: ['reading', 'Proof'],
  card: ['reading', 'Card'],
  files: ['reading', 'Files'],
  use: ['reading', 'Use'],
};

export function Model({ parts: [id, chosen] }) {
  const address = route('models', id);
  const [loaded, problem, again] = useLoaded(
    () => Promise.all([get(address), get(`${address}/report`), kinds()]),
    [id],
  );
  const name = loaded ? loaded[0].manifest.name : id;
  const tab = TABS.some(([each]) => each === chosen) ? chosen : 'try';
  useTitle(tab === 'try' ? name : `${W.model.tabs[tab]}: ${name}`);
  if (!loaded) return html`<${Waiting} title=${id} problem=${problem} again=${again} />`;
  const [model, report, known] = loaded;
  const { manifest } = model;
  const kind = known.find((each) => each.name === manifest.task);
  const metric = metricOf(known, manifest.metric);
  const shared = { ...model, report, metric, kind };
  const conclusions = report.conclusions;
  const [file, view] = tab === 'try' ? TRY[manifest.task] || PLACES.use : PLACES[tab];
  return html`
    <p class="muted over">${kind ? kind.title : manifest.task} \u00b7 ${when(manifest.created_at)}</p>
    <h1>${name}</h1>
    <p class="lead">${conclusions ? conclusions.advice : report.verdict}</p>
    <${Verdict} ...${shared} />
    ${conclusions && conclusions.reservations.map((each) => html`<p class="note">${each}</p>`)}
    <${Tabs} base=${screen('models', id)} tabs=${TABS} current=${tab} />
    <div>
      <${Lazy} file=${file} name=${view} ...${shared} />
    </div>`;
}
