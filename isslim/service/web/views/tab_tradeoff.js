// What quality was lost for what time and size: the variants, and every candidate that was tried.
import { html, useState } from '../vendor/preact.js';
import { get, post } from '../api.js';
import { Problem } from '../parts/common.js';
import { Curve } from '../parts/curve.js';
import { TradeOff, allowed } from '../parts/tradeoff.js';
import { percent } from '../format.js';
import { W } from '../words.js';

function Make({ model, point, whole, close }) {
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const ratio = Math.min(0.999, point.parameters / whole);
  const name = `${model.manifest.name}-${Math.round(100 * ratio)}`.slice(0, 64);
  const start = async () => {
    setBusy(true);
    try {
      const made = (await get('/jobs')).find((each) => each.model_id === model.id);
      if (!made) throw new Error(W.make.noJob);
      const changes = { name, budget: { size_ratio: Number(ratio.toFixed(4)) } };
      const job = await post(`/jobs/${encodeURIComponent(made.id)}/again`, { changes });
      location.hash = `#/jobs/${job.id}`;
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

export default function TradeOffTab({ id, manifest, report, metric, kind }) {
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
      html`<${Make} key=${picked.parameters} model=${{ id, manifest }} point=${picked} whole=${whole}
      close=${() => setPicked(null)} />`
    }`;
}
