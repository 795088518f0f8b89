// Latency measured live on this host, all variants in turn, with the interval of each ratio.
import { html, useState } from '../vendor/preact.js';
import { get } from '../api.js';
import { Problem, Table } from '../parts/common.js';
import { Axes, Point, linear, ticks, useWidth } from '../parts/scales.js';
import { milliseconds, ratio, times, when } from '../format.js';
import { W } from '../words.js';

const CLASSES = { original: 'original', 'original-int8': 'baseline' };

function Ratios({ results, device, against }) {
  const [element, width] = useWidth();
  const rows = Object.entries(results)
    .map(([name, records]) => {
      const found = records.find((each) => each.device === device);
      const over =
        against === 'original'
          ? found && { median: found.speedup, low: found.speedup_low, high: found.speedup_high }
          : found && found.against_int8;
      return { name, found, over: found && found.steady ? over : null };
    })
    .filter((each) => each.found);
  const drawn = rows.filter((each) => each.over);
  const high = 1.08 * Math.max(1, ...drawn.map((each) => each.over.high));
  const names = 130;
  const box = { left: names, right: width - 12, top: 30, bottom: 40 + 34 * drawn.length };
  const x = linear(0, high, box.left, box.right);
  return html`<div ref=${element}><svg class="chart" viewBox=${`0 0 ${width} ${box.bottom + 46}`} role="group" aria-label=${W.speed.chart}>
    <${Axes} box=${box} x=${x} y=${() => box.bottom} xTicks=${ticks(0, high, width > 480 ? 6 : 3)} yTicks=${[]}
      xName=${against === 'original' ? W.speed.axis : W.speed.axisInt8} yName="" />
    <path class="budget" d=${`M${x(1)} ${box.top - 8}V${box.bottom}`} />
    ${drawn.map(({ name, over }, at) => {
      const y = 48 + 34 * at;
      return html`<${Point} name=${W.speed.point(name, times(over.median), ratio(over.low), ratio(over.high))}>
        <text class="strong" x=${names - 12} y=${y + 4} text-anchor="end">${name}</text>
        <g class=${CLASSES[name] || 'compressed'}><path class="whisker" d=${`M${x(over.low)} ${y - 5}v10m0 -5H${x(over.high)}m0 -5v10`} />
        <circle class="dot" cx=${x(over.median)} cy=${y} r="6" /></g></${Point}>`;
    })}</svg></div>
    <${Table} label=${W.speed.chart} head=${W.speed.head} numbers=${[1, 2, 3, 4]} rows=${rows.map(
      ({ name, found, over }) => [
        name,
        milliseconds(found.median_ms),
        milliseconds(found.p90_ms),
        over ? times(over.median) : W.tiles.notSteady,
        over ? W.interval(ratio(over.low), ratio(over.high)) : '',
      ],
    )} />`;
}

export default function Speed({ id, manifest, kind }) {
  const recorded = manifest.task === 'onnx-graph';
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
      const found = await get(`/models/${encodeURIComponent(id)}/latency?${new URLSearchParams(chosen)}`);
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
        ${['smallest', 'median', 'largest'].map((each) => html`<option>${each}</option>`)}</select></label>`
      }
      <label>${W.speed.against}<select value=${against} onChange=${(event) => setAgainst(event.target.value)}>
        <option value="original">${W.speed.original}</option><option value="int8">${W.speed.int8}</option></select></label>
      <button class="primary" disabled=${state.busy}>${state.busy ? W.speed.busy : latest ? W.speed.again : W.speed.begin}</button></form>
    <p aria-live="polite" class="muted small">${state.busy ? W.speed.wait : latest ? W.speed.measured(when(latest.measured_at)) : ''}</p>
    <${Problem} problem=${state.problem} />
    ${latest && devices.map((device) => html`<h3>${device}</h3><${Ratios} results=${latest.results} device=${device} against=${against} />`)}
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
    <h2>${W.speed.published}</h2><${Table} label=${W.speed.published} head=${W.speed.publishedHead} numbers=${[2, 3]}
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
