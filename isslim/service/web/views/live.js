// What is live: names and what is tried beside them, workers, queue, disk.
import {
  html,
  choicesOf,
  Options,
  route,
  screen,
  Waiting,
  useState,
  get,
  post,
  put,
  Problem,
  Table,
  useEvery,
  useLoaded,
  useTitle,
  count,
  percent,
  plain,
  signed,
  times,
  when,
  W,
  Tile,
  bytes,
  duration,
} from '../page.js';

// Live traffic: what names mean, what a shadow or canary has shown, and the two buttons that move it.

const MARKS = { held: 'ok', broken: 'bad' };
const targetOf = ({ model, variant }, models) => {
  const found = models.find((each) => each.id === model);
  return `${found ? found.name : model}${variant ? `: ${variant}` : ''}`;
};
const spread = (found, show) =>
  found
    ? `${show(found.mean)}${found.low == null ? '' : ` (${show(found.low)} to ${show(found.high)})`}`
    : '\u2013';

function Trial({ trial, models, promote, busy }) {
  const rule = trial.rule;
  return html`<section class="card"><h2>${W.aliases.roles[trial.role]}: ${targetOf(trial.candidate, models)}</h2>
    <p class="muted">${W.aliases.share(percent(trial.share))} \u00b7 ${W.aliases.compared(count(trial.requests))}${
      trial.failed ? ` \u00b7 ${W.aliases.failed(count(trial.failed))}` : ''
    }${trial.dropped ? ` \u00b7 ${W.aliases.dropped(count(trial.dropped))}` : ''}</p>
    <${Table} label=${W.aliases.figures(trial.role)} head=${W.aliases.figuresHead} numbers=${[1]} rows=${[
      ...(trial.difference
        ? [[W.aliases.difference, spread(trial.difference, (value) => signed(value, 4))]]
        : []),
      [W.aliases.change, spread(trial.change, (value) => plain(value, 4))],
      [W.aliases.same, spread(trial.same, (value) => `${(100 * value).toFixed(1)}\u202f%`)],
      [W.aliases.time, spread(trial.time_ratio, (value) => times(value))],
    ]} />
    ${
      rule &&
      html`<p>${W.aliases.rule(rule.change_below, count(rule.requests))} <span class=${`badge ${MARKS[trial.decision] || ''}`}>${
        W.aliases.decisions[trial.decision]
      }</span></p>`
    }
    <p><button class="primary" disabled=${busy} onClick=${() => promote(trial.candidate)}>${W.aliases.promote}</button></p></section>`;
}

function One({ alias, report, models, again }) {
  const [state, setState] = useState({});
  const act = async (work) => {
    setState({ busy: true });
    try {
      await work();
      setState({});
    } catch (problem) {
      setState({ problem });
    }
    again();
  };
  const path = route('aliases', alias.alias);
  const promote = ({ model, variant }) => act(() => put(path, { model, variant, note: W.aliases.note }));
  const back = () => act(() => post(`${path}/rollback?note=${encodeURIComponent(W.aliases.note)}`));
  return html`<p class="muted over">${W.aliases.changed(alias.version, when(alias.changed_at))}</p><h1>${alias.alias}</h1>
    <p class="lead">${W.aliases.means} <a href=${screen('models', alias.model)}>${targetOf(alias, models)}</a></p>
    ${models.every((each) => each.id !== alias.model) && html`<p class="note">${report.lines.at(-1)}</p>`}
    ${report.trials.map((each) => html`<${Trial} trial=${each} models=${models} promote=${promote} busy=${state.busy} />`)}
    ${!report.trials.length && html`<p>${W.aliases.noTrial}</p>`}
    <${Begin} models=${models} start=${alias.alias} again=${again} current=${alias} />
    <p><button onClick=${back} disabled=${state.busy || !(alias.earlier.length || alias.canary)}>${W.aliases.back}</button></p>
    <${Problem} problem=${state.problem} />
    <h2>${W.aliases.history}</h2><${Table} label=${W.aliases.history} head=${W.aliases.historyHead} rows=${alias.history.map(
      (each) => [when(each.at), each.action, each.after ? targetOf(each.after, models) : '\u2013', each.note],
    )} />`;
}

// A new alias, or a trial beside one that there is.
function Begin({ models, start, again, current }) {
  // What can take the same requests.
  const own = current && models.find((each) => each.id === current.model);
  const choices = choicesOf(own ? models.filter((each) => each.task === own.task) : models);
  const [chosen, setChosen] = useState({ name: start || '', target: '', role: 'shadow', share: 0.1 });
  const [problem, setProblem] = useState(null);
  const target = choices.find((each) => each.key === chosen.target) || choices[0];
  if (!target) return html`<div></div>`;
  const submit = async (event) => {
    event.preventDefault();
    const asked = { model: target.model.id, variant: target.variant.name };
    // What is tried already goes on.
    const { model, variant, shadow, canary } = current || {};
    const body = current
      ? { model, variant, shadow, canary, [chosen.role]: { ...asked, share: chosen.share } }
      : asked;
    try {
      await put(route('aliases', chosen.name), body);
      setProblem(null);
      if (current) again();
      else location.hash = screen('aliases', chosen.name);
    } catch (found) {
      setProblem(found);
    }
  };
  const set =
    (name, read = (value) => value) =>
    (event) =>
      setChosen({ ...chosen, [name]: read(event.target.value) });
  return html`<div><h2>${current ? W.aliases.begin : W.aliases.make}</h2><form class="row wrap" onSubmit=${submit}>
    ${
      !current &&
      html`<label>${W.aliases.name}
      <input required value=${chosen.name} onInput=${set('name')} pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" /></label>`
    }
    <label>${W.aliases.target}<select value=${target.key} onChange=${set('target')}>
      <${Options} of=${choices} /></select></label>
    ${
      current &&
      html`<label>${W.aliases.as}<select value=${chosen.role} onChange=${set('role')}>${Object.entries(
        W.aliases.roles,
      ).map(([role, title]) => html`<option value=${role}>${title}</option>`)}</select></label>
      <label>${W.aliases.shareOf}<input type="number" min="0.01" max="1" step="0.01" value=${chosen.share} onInput=${set('share', Number)} /></label>`
    }
    <button>${current ? W.aliases.beginIt : W.aliases.makeIt}</button></form><${Problem} problem=${problem} /></div>`;
}

async function load(id) {
  const models = await get('/models');
  if (!id) return { aliases: await get('/aliases'), models };
  const path = route('aliases', id);
  const [alias, report] = await Promise.all([get(path), get(`${path}/shadow`)]);
  return { alias, report, models };
}

export function Aliases({ parts: [id] }) {
  const [loaded, problem, again] = useLoaded(() => load(id), [id]);
  useEvery(5, again);
  useTitle(id || W.nav.aliases);
  if (!loaded) return html`<${Waiting} title=${W.nav.aliases} problem=${problem} again=${again} />`;
  if (loaded.alias) return html`<${One} ...${loaded} again=${again} />`;
  return html`<h1>${W.nav.aliases}</h1><p class="lead">${W.aliases.lead}</p>
    ${
      loaded.aliases.length
        ? html`<ul class="lines">${loaded.aliases.map(
            (each) => html`<li>
      <a href=${screen('aliases', each.alias)}>${each.alias}</a><span class="muted">${targetOf(each, loaded.models)}</span>
      <span>${Object.keys(W.aliases.roles)
        .filter((role) => each[role])
        .map((role) => W.aliases.roles[role])
        .join(', ')}</span></li>`,
          )}</ul>`
        : html`<p>${W.aliases.none}</p>`
    }
    <${Begin} models=${loaded.models} again=${again} />`;
}

// How the service is: workers, queue, disk, devices, versions, and what went wrong last.

export function HealthView() {
  useTitle(W.nav.health);
  const [loaded, problem, again] = useLoaded(() => Promise.all([get('/status'), get('/jobs')]), []);
  useEvery(3, again);
  const [status, jobs] = loaded || [];
  const how = status ? (status.workers ? W.health.well : W.health.noWorker) : W.loading;
  const failed = (jobs || []).filter((each) => each.problem).slice(0, 8);
  return html`<h1>${W.nav.health}</h1>
    <p class="lead" role="status">${problem ? problem.title || W.problem.network : how}</p>
    <${Problem} problem=${problem} again=${again} />
    ${
      status &&
      html`
      <div class="tiles" role="group" aria-label=${W.health.now}>
        <${Tile} value=${count(status.workers)} label=${W.health.workers(status.workers)} />
        <${Tile} value=${count(status.jobs.queued)} label=${W.health.queued}
          note=${status.jobs.queued ? W.health.oldest(duration(status.oldest_queued_seconds)) : ''} />
        <${Tile} value=${count(status.jobs.running)} label=${W.health.running} />
        <${Tile} value=${bytes(status.disk_free_bytes)} label=${W.health.free}
          note=${W.health.of(bytes(status.disk_bytes), percent(status.disk_free_bytes / status.disk_bytes))} />
      </div>
      <h2>${W.health.parts}</h2>
      <${Table} label=${W.health.parts} head=${W.health.head} rows=${[
        [W.product, status.version],
        ...Object.entries(status.versions),
        [W.health.devices, status.devices.join(', ')],
        [
          W.health.models,
          `${count(status.models)}; ${W.health.memory(status.models_in_memory, bytes(status.memory_bytes))}`,
        ],
        [W.health.storage, status.storage],
        [W.health.database, status.database],
      ]} />
      ${status.warnings.map((each) => html`<p class="note">${each}</p>`)}
      <h2>${W.health.ended}</h2>
      ${
        failed.length
          ? html`<ul class="lines">${failed.map(
              (each) => html`<li><a href=${screen('jobs', each.id)}>${each.name}</a>
        <span class="grow muted">${each.problem.title}</span><span class="muted">${when(each.updated_at)}</span></li>`,
            )}</ul>`
          : html`<p class="muted">${W.health.none}</p>`
      }`
    }`;
}
