// Where one begins, with what runs and what there is; and a job as it goes.
import {
  html,
  useState,
  get,
  kinds,
  Bar,
  Problem,
  useEvery,
  useLoaded,
  useTitle,
  metricOf,
  percent,
  when,
  W,
  useEffect,
  useRef,
  followJob,
  kinds as knownKinds,
  remove,
  duration,
} from '../page.js';
import { Drop, Understood } from './compress.js';
import { CardTiles } from './model.js';
import { Curve, Learning, allowed } from '../charts.js';

// Where one begins: a place to drop a model, the jobs that run, the models that there are.

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

export function Home() {
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

// A job as it goes: its stage, the curve point by point, what was understood, its log; then its model.

const STAGES = ['ingest', 'calibrate', 'search', 'fine-tune', 'learn', 'export', 'measure', 'publish'];
const isActive = (job) => job.state === 'queued' || job.state === 'running';

function Stages({ job }) {
  const skipped = job.request.recipe.mode === 'learn' ? ['calibrate', 'search', 'fine-tune'] : ['learn'];
  const shown = STAGES.filter((each) => !skipped.includes(each));
  const at = job.state === 'succeeded' ? shown.length : shown.indexOf(job.stage);
  return html`<ol class="stages">${shown.map(
    (each, index) => html`<li class=${index < at ? 'done' : index === at ? 'now' : ''}
    aria-current=${index === at ? 'step' : undefined}>${W.job.stages[each]}</li>`,
  )}</ol>`;
}

function inShort(job, place, left) {
  if (job.state === 'queued') return place ? W.job.place(place) : W.job.waiting;
  return [percent(job.progress), left && W.job.left(duration(left))].filter(Boolean).join(' \u00b7 ');
}

// What is left by what was seen of this attempt; null before there is enough of it.
function useLeft(job) {
  const first = useRef(null);
  if (!job || job.state !== 'running') return null;
  if (!first.current || first.current.attempts !== job.attempts) first.current = { ...job, seen: Date.now() };
  const [seconds, gained] = [(Date.now() - first.current.seen) / 1000, job.progress - first.current.progress];
  return seconds > 10 && gained > 0.03 ? (seconds * (1 - job.progress)) / gained : null;
}

function notify(job) {
  if ('Notification' in window && Notification.permission === 'granted' && document.hidden) {
    new Notification(W.job.ended(job.name, W.states[job.state]));
  }
}

export function JobView({ parts: [id] }) {
  const [job, setJob] = useState(null);
  const [lost, setLost] = useState({});
  const [kinds, setKinds] = useState([]);
  const [said, setSaid] = useState('');
  const before = useRef(null);
  const left = useLeft(job);
  const [place, setPlace] = useState(0);
  useEvery(3, async () => {
    if (!job || job.state !== 'queued') return;
    const waiting = (await get('/jobs')).filter((each) => each.state === 'queued');
    setPlace(waiting.filter((each) => each.created_at <= job.created_at).length);
  });
  useEffect(() => {
    knownKinds().then(setKinds, () => {});
    return followJob(id, setJob, (problem, final) => setLost({ problem, final }));
  }, [id]);
  useEffect(() => {
    if (!job) return;
    // Said aloud by stage, not by percent.
    const stage = isActive(job) ? W.job.stages[job.stage] || W.states[job.state] : W.states[job.state];
    setSaid(stage);
    const earlier = before.current;
    before.current = job;
    if (earlier && isActive(earlier) && !isActive(job)) {
      notify(job);
      if (job.state === 'succeeded' && job.model_id)
        location.hash = `#/models/${encodeURIComponent(job.model_id)}`;
    }
  }, [job]);
  useTitle(job ? `${job.state === 'running' ? `${percent(job.progress)} ` : ''}${job.name}` : W.job.title);
  if (!job) {
    return html`<h1>${W.job.title}</h1>${
      lost.final
        ? html`<${Problem} problem=${lost.problem} />`
        : html`<p class="muted">${lost.problem ? W.job.lost : W.loading}</p>`
    }`;
  }
  const cancel = async () => {
    try {
      await remove(`/jobs/${encodeURIComponent(id)}`);
    } catch (problem) {
      setLost({ problem, final: true });
    }
  };
  const ask = () => Notification.requestPermission();
  const kind = kinds.find((each) => each.name === (job.inspection && job.inspection.kind));
  const metric = metricOf(kinds, job.inspection && job.inspection.metric);
  const points = job.points.length ? job.points : job.curve;
  return html`
    <p class="muted over">${W.job.title} \u00b7 ${when(job.created_at)}${job.attempts > 1 ? ` \u00b7 ${W.job.attempt(job.attempts)}` : ''}</p>
    <h1>${job.name}</h1>
    <p class="lead">${W.states[job.state]}${isActive(job) ? ` \u00b7 ${inShort(job, place, left)}` : ''}</p>
    <p class="unseen" aria-live="polite">${said}</p>
    <${Stages} job=${job} />
    ${isActive(job) && html`<${Bar} share=${job.progress} label=${W.job.progressOf(job.name)} />`}
    <p class="muted">${job.message}</p>
    ${lost.problem && (lost.final ? html`<${Problem} problem=${lost.problem} />` : html`<p class="note" role="status">${W.job.lost}</p>`)}
    ${job.problem && html`<${Problem} problem=${job.problem} />`}
    <p class="row wrap">
      ${job.model_id && html`<a class="button primary" href=${`#/models/${encodeURIComponent(job.model_id)}`}>${W.job.model}</a>`}
      ${isActive(job) && html`<button class="danger" onClick=${cancel}>${W.job.cancel}</button>`}
      ${
        isActive(job) &&
        'Notification' in window &&
        Notification.permission === 'default' &&
        html`<button class="quiet" onClick=${ask}>${W.job.notify}</button>`
      }</p>
    ${
      points.length > 0 &&
      html`<h2>${W.job.curve(points.length)}</h2>
      <${Curve} points=${points} whole=${job.inspection && job.inspection.parameters} metric=${metric}
        limit=${allowed(job.request.recipe, kind)} />`
    }
    ${job.epochs.length > 0 && html`<h2>${W.learning.title}</h2><${Learning} epochs=${job.epochs} metric=${metric} />`}
    ${job.inspection && html`<${Understood} found=${job.inspection} kinds=${kinds} />`}
    ${job.log.length > 0 && html`<h2>${W.job.log}</h2><pre class="log" tabindex="0" aria-label=${W.job.log}>${job.log.join('\n')}</pre>`}`;
}
