// Where one begins, with what runs and what there is; and a job as it goes.
import {
  html,
  useState,
  get,
  isActive,
  kinds,
  post,
  screen,
  Bar,
  Problem,
  Waiting,
  useEvery,
  useKey,
  useLoaded,
  useTitle,
  metricOf,
  percent,
  when,
  W,
  useEffect,
  useRef,
  followJob,
  remove,
  route,
  duration,
} from '../page.js';
import { Drop, Empty, Understood } from './compress.js';
import { CardTiles } from './model.js';
import { Curve, Learning, allowed } from '../charts.js';

// How far a job is: its place among those that wait, or its share and the time that is left.
function howFar(job) {
  if (job.state === 'queued') return job.queue_position ? W.job.place(job.queue_position) : W.job.waiting;
  return [percent(job.progress), job.seconds_left != null && W.job.left(duration(job.seconds_left))]
    .filter(Boolean)
    .join(' \u00b7 ');
}

function JobLine({ job }) {
  const stage = W.job.stages[job.stage] || W.states[job.state];
  return html`<a class="card" href=${screen('jobs', job.id)}>
    <h3>${job.name}</h3>
    <p class="muted">${job.state === 'running' ? stage : W.states[job.state]} \u00b7 ${howFar(job)}</p>
    <${Bar} share=${job.progress} label=${W.job.progressOf(job.name)} /></a>`;
}

function ModelCard({ summary, known }) {
  const kind = known.find((each) => each.name === summary.task);
  const damaged = summary.issues.length > 0 || !summary.variants.length;
  return html`<a class="card" href=${screen('models', summary.id)}>
    <h3>${summary.name}</h3>
    <p class="muted small">${kind ? kind.title : summary.task}${summary.created_at ? ` \u00b7 ${when(summary.created_at)}` : ''}${
      summary.proofs ? ` \u00b7 ${W.home.proofs(summary.proofs)}` : ''
    }</p>
    ${
      damaged
        ? html`<p><span class="badge bad">${W.home.damaged}</span> ${summary.issues[0]}</p>`
        : html`<${CardTiles} summary=${summary} metric=${metricOf(known, summary.metric)} />`
    }
    ${summary.random_inputs && html`<p class="small note">${W.home.random}</p>`}</a>`;
}

// The first ones of a list, and a button for the rest.
function Few({ of, show }) {
  const [all, setAll] = useState(false);
  return html`${show(all ? of : of.slice(0, 6))}
    ${of.length > 6 && !all && html`<button onClick=${() => setAll(true)}>${W.home.all(of.length)}</button>`}`;
}

// The place to drop a model, the jobs that run, the models that there are.
export function Home() {
  useTitle('');
  const [loaded, problem, again] = useLoaded(
    () => Promise.all([get('/models'), get('/jobs'), kinds(), get('/status')]),
    [],
  );
  useEvery(3, again);
  const [models, jobs, known, status] = loaded || [[], [], []];
  // What runs, then what waits, as it will be taken.
  const active = jobs.filter(isActive).reverse();
  const ended = jobs.filter((each) => !isActive(each));
  return html`<h1>${W.home.title}</h1><p class="lead">${W.home.lead}</p>
    <${Drop} />
    <${Problem} problem=${problem} again=${again} />
    ${status && !status.workers && html`<p class="note" role="status">${W.health.noWorker}</p>`}
    ${
      active.length > 0 &&
      html`<h2>${W.home.running}</h2>
      <${Few} of=${active} show=${(few) =>
        html`<div class="cards">${few.map((each) => html`<${JobLine} key=${each.id} job=${each} />`)}</div>`} />`
    }
    ${
      models.length > 0 &&
      html`<h2>${W.home.models} <span class="muted">${models.length}</span></h2>
      <div class="cards">${models.map((each) => html`<${ModelCard} key=${each.id} summary=${each} known=${known} />`)}</div>`
    }
    ${loaded && !models.length && !active.length && html`<${Empty} />`}
    ${!loaded && !problem && html`<p class="muted">${W.loading}</p>`}
    ${
      ended.length > 0 &&
      html`<h2>${W.home.ended}</h2>
      <${Few} of=${ended} show=${(few) =>
        html`<ul class="lines">${few.map(
          (each) => html`<li key=${each.id}>
        <a href=${screen('jobs', each.id)}>${each.name}</a>
        <span class="muted">${W.states[each.state]}, ${when(each.updated_at)}</span></li>`,
        )}</ul>`} />`
    }
    ${status && html`<p class="muted small"><a href="#/health">${W.health.inShort(status)}</a></p>`}`;
}

// A job as it goes: its stage, the curve point by point, what was understood, its log; then its model.

function Stages({ job }) {
  const skipped = job.request.recipe.mode === 'learn' ? ['calibrate', 'search', 'fine-tune'] : ['learn'];
  const shown = Object.keys(W.job.stages).filter((each) => !skipped.includes(each));
  const at = job.state === 'succeeded' ? shown.length : shown.indexOf(job.stage);
  return html`<ol class="stages">${shown.map(
    (each, index) => html`<li class=${index < at ? 'done' : index === at ? 'now' : ''}
    aria-current=${index === at ? 'step' : undefined}>${W.job.stages[each]}</li>`,
  )}</ol>`;
}

function notify(job) {
  if ('Notification' in window && Notification.permission === 'granted' && document.hidden) {
    new Notification(W.job.ended(job.name, W.states[job.state]));
  }
}

export function JobView({ parts: [id] }) {
  const [job, setJob] = useState(null);
  const [lost, setLost] = useState({});
  const [known, setKnown] = useState([]);
  const [said, setSaid] = useState('');
  const [tries, setTries] = useState(0);
  const before = useRef(null);
  useKey(() => lost.final && setTries(tries + 1));
  useEffect(() => {
    kinds().then(setKnown, () => {});
    return followJob(id, setJob, (problem, final) => setLost({ problem, final }));
  }, [id, tries]);
  useEffect(() => {
    if (!job) return;
    // Said aloud by stage, not by percent.
    const stage = isActive(job) ? W.job.stages[job.stage] || W.states[job.state] : W.states[job.state];
    setSaid(stage);
    const earlier = before.current;
    before.current = job;
    if (earlier && isActive(earlier) && !isActive(job)) {
      notify(job);
      if (job.state === 'succeeded' && job.model_id) location.hash = screen('models', job.model_id);
    }
  }, [job]);
  // One that has ended may be started again elsewhere.
  useEvery(5, () => {
    if (job && !isActive(job))
      get(route('jobs', id)).then(
        (found) => isActive(found) && setTries(tries + 1),
        () => {},
      );
  });
  useTitle(job ? `${job.state === 'running' ? `${percent(job.progress)} ` : ''}${job.name}` : W.job.title);
  if (!job) {
    return html`<${Waiting} title=${W.job.title} problem=${lost.problem} />`;
  }
  const cancel = async () => {
    try {
      await remove(route('jobs', id));
    } catch (problem) {
      setLost({ problem, final: true });
    }
  };
  const repeat = () =>
    post(route('jobs', id, 'again'), { changes: {} }).then(
      () => setTries(tries + 1),
      (problem) => setLost({ problem, final: true }),
    );
  const ask = () => Notification.requestPermission();
  const kind = known.find((each) => each.name === (job.inspection && job.inspection.kind));
  const metric = metricOf(known, job.inspection && job.inspection.metric);
  const points = job.points.length ? job.points : job.curve;
  return html`
    <p class="muted over">${W.job.title} \u00b7 ${when(job.created_at)}${job.attempts > 1 ? ` \u00b7 ${W.job.attempt(job.attempts)}` : ''}</p>
    <h1>${job.name}</h1>
    <p class="lead">${W.states[job.state]}${isActive(job) ? ` \u00b7 ${howFar(job)}` : ''}</p>
    <p class="unseen" aria-live="polite">${said}</p>
    <${Stages} job=${job} />
    ${isActive(job) && html`<${Bar} share=${job.progress} label=${W.job.progressOf(job.name)} />`}
    <p class="muted">${job.message}</p>
    ${lost.problem && (lost.final ? html`<${Problem} problem=${lost.problem} />` : html`<p class="note" role="status">${W.job.lost}</p>`)}
    ${job.problem && html`<${Problem} problem=${job.problem} />`}
    <p class="row wrap">
      ${job.model_id && html`<a class="button primary" href=${screen('models', job.model_id)}>${W.job.model}</a>`}
      ${isActive(job) && html`<button class="danger" onClick=${cancel}>${W.job.cancel}</button>`}
      ${['failed', 'cancelled'].includes(job.state) && html`<button onClick=${repeat}>${W.job.again}</button>`}
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
    ${job.inspection && html`<${Understood} found=${job.inspection} kinds=${known} />`}
    ${job.log.length > 0 && html`<h2>${W.job.log}</h2><pre class="log" tabindex="0" aria-label=${W.job.log}>${job.log.join('\n')}</pre>`}`;
}
