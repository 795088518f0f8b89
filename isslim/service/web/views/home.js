// Where one begins: a place to drop a model, the jobs that run, the models that there are.
import { html, useState } from '../vendor/preact.js';
import { get, kinds } from '../api.js';
import { Bar, Problem, useEvery, useLoaded, useTitle } from '../parts/common.js';
import { Drop } from '../parts/drop.js';
import { CardTiles } from '../parts/verdict.js';
import { metricOf, percent, when } from '../format.js';
import { W } from '../words.js';

const ACTIVE = ['queued', 'running'];

export function JobLine({ job }) {
  return html`<a class="card" href=${`#/jobs/${encodeURIComponent(job.id)}`}>
    <h3>${job.name}</h3>
    <p class="muted">${W.states[job.state]}${job.state === 'running' ? ` \u00b7 ${job.stage} \u00b7 ${percent(job.progress)}` : ''}</p>
    ${ACTIVE.includes(job.state) && html`<${Bar} share=${job.progress} label=${W.job.progressOf(job.name)} />`}</a>`;
}

function ModelCard({ summary, known }) {
  const kind = known.find((each) => each.name === summary.task);
  const damaged = summary.issues.length > 0 || !summary.variants.length;
  return html`<a class="card" href=${`#/models/${encodeURIComponent(summary.id)}`}>
    <h3>${summary.name}</h3>
    <p class="muted small">${kind ? kind.title : summary.task}${summary.created_at ? ` \u00b7 ${when(summary.created_at)}` : ''}</p>
    ${
      damaged
        ? html`<p><span class="badge bad">${W.home.damaged}</span> ${summary.issues[0]}</p>`
        : html`<${CardTiles} summary=${summary} metric=${metricOf(known, summary.metric)} />`
    }
    ${summary.random_inputs && html`<p class="small note">${W.home.random}</p>`}</a>`;
}

export default function Home() {
  useTitle('');
  const [loaded, problem, again] = useLoaded(() => Promise.all([get('/models'), get('/jobs'), kinds()]), []);
  useEvery(3, again);
  const [all, setAll] = useState(false);
  const [models, jobs, known] = loaded || [[], [], []];
  const active = jobs.filter((each) => ACTIVE.includes(each.state));
  const ended = jobs.filter((each) => !ACTIVE.includes(each.state));
  return html`<h1>${W.home.title}</h1><p class="lead">${W.home.lead}</p>
    <${Drop} />
    <${Problem} problem=${problem} again=${again} />
    ${
      active.length > 0 &&
      html`<h2>${W.home.running}</h2>
      <div class="cards">${active.map((each) => html`<${JobLine} key=${each.id} job=${each} />`)}</div>`
    }
    ${
      loaded &&
      html`<h2>${W.home.models} <span class="muted">${models.length || ''}</span></h2>
      ${
        models.length
          ? html`<div class="cards">${models.map((each) => html`<${ModelCard} key=${each.id} summary=${each} known=${known} />`)}</div>`
          : html`<p>${W.home.none}</p><ul class="muted">${W.home.accepted.map((each) => html`<li>${each}</li>`)}</ul>`
      }`
    }
    ${!loaded && !problem && html`<p class="muted">${W.loading}</p>`}
    ${
      ended.length > 0 &&
      html`<h2>${W.home.ended}</h2>
      <ul class="lines">${(all ? ended : ended.slice(0, 6)).map(
        (each) => html`<li key=${each.id}>
        <a href=${`#/jobs/${encodeURIComponent(each.id)}`}>${each.name}</a>
        <span class="muted">${W.states[each.state]}, ${when(each.updated_at)}</span></li>`,
      )}</ul>
      ${ended.length > 6 && !all && html`<button onClick=${() => setAll(true)}>${W.home.all(ended.length)}</button>`}`
    }`;
}
