// From files to a job: sorted, inspected within seconds, and started with one budget.
import { html, useEffect, useState } from '../vendor/preact.js';
import { get, kinds as knownKinds, upload } from '../api.js';
import { Bar, Problem, useTitle } from '../parts/common.js';
import { Drop, dropped } from '../parts/drop.js';
import { Budget, Commands, budgetOf } from '../parts/budget.js';
import { FIELDS, sorted, suggestedKind } from '../parts/sorting.js';
import { Understood } from '../parts/understood.js';
import { bytes, percent } from '../format.js';
import { W } from '../words.js';

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const nameOf = (file) =>
  file.name
    .replace(/\.[^.]*$/, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64) || 'model';

function Files({ entries, change }) {
  const set = (at, field) => change(entries.map((each, other) => (other === at ? { ...each, field } : each)));
  return html`<ul class="lines">${entries.map(
    ({ file, field }, at) => html`<li key=${file.name + at}>
    <span class="grow"><b>${file.name}</b> <span class="muted">${bytes(file.size)}</span></span>
    <label><span class="unseen">${W.compress.fieldOf(file.name)}</span>
      <select value=${field} onChange=${(event) => set(at, event.target.value)}>
        <option value="">${W.compress.unused}</option>
        ${FIELDS.map((each) => html`<option value=${each}>${W.fields[each]}</option>`)}</select></label>
    <button class="quiet" onClick=${() => change(entries.filter((_, other) => other !== at))}
      aria-label=${W.compress.without(file.name)}>${W.compress.remove}</button></li>`,
  )}</ul>`;
}

// What keeps the files from being sent, in words.
function missing(entries, name) {
  const fields = entries.map((each) => each.field).filter(Boolean);
  if (!fields.includes('model')) return W.compress.noModel;
  const twice = fields.find((each, at) => fields.indexOf(each) !== at);
  if (twice) return W.compress.twice(W.fields[twice]);
  return NAME.test(name) ? '' : W.compress.badName;
}

async function pending(found) {
  while (found.state === 'queued' || found.state === 'running') {
    await new Promise((resume) => setTimeout(resume, 500));
    found = await get(`/inspections/${encodeURIComponent(found.id)}`);
  }
  return found;
}

export default function Compress() {
  useTitle(W.nav.compress);
  const [entries, setEntries] = useState([]);
  const [kinds, setKinds] = useState([]);
  const [options, setOptions] = useState({ name: '', limit: 'quality', value: null, minutes: 5 });
  const [state, setState] = useState({});
  const accept = async (files) => {
    const all = [...entries.map((each) => each.file), ...files];
    const next = await sorted(
      all.filter(
        (file, at) => all.findIndex((each) => each.name === file.name && each.size === file.size) === at,
      ),
    );
    const model = next.find((each) => each.field === 'model');
    if (model && !options.name) setOptions((before) => ({ ...before, name: nameOf(model.file) }));
    setEntries(next);
    setState({});
  };
  useEffect(() => {
    knownKinds().then(setKinds, (problem) => setState({ problem }));
    if (dropped.files.length) accept(dropped.files.splice(0));
  }, []);
  const change = (next) => {
    setEntries(next);
    setState({});
  };
  const understood = state.found;
  const kind = kinds.find(
    (each) => each.name === ((understood && understood.kind) || suggestedKind(entries)),
  );
  const recipe = { name: options.name, budget: budgetOf(options, kind), minutes: options.minutes };
  const send = async (path) => {
    const form = new FormData();
    for (const { file, field } of entries) if (field) form.append(field, file);
    form.append('options', JSON.stringify(recipe));
    setState((before) => ({ ...before, sending: 0, problem: null, path }));
    try {
      const answer = await upload(path, form, (sending) => setState((before) => ({ ...before, sending })));
      if (path === '/compress') {
        location.hash = `#/jobs/${answer.found.id}`;
        return;
      }
      const found = await pending(answer.found);
      setState({ found });
    } catch (problem) {
      setState((before) => ({ ...before, sending: null, problem }));
    }
  };
  const why = entries.length ? missing(entries, options.name) : '';
  const busy = state.sending != null;
  return html`<h1>${W.compress.title}</h1><p class="lead">${W.compress.lead}</p>
    <${Drop} take=${accept} />
    ${
      entries.length > 0 &&
      html`
      <h2>${W.compress.files}</h2><${Files} entries=${entries} change=${change} />
      <${Budget} options=${options} kind=${kind} metric=${kind && kind.metrics[0]}
        set=${(next) => {
          setOptions({ ...options, ...next });
        }} />
      ${why && html`<p class="note" role="status">${why}</p>`}
      <div class="row wrap">
        <button class=${understood ? '' : 'primary'} disabled=${busy || why} onClick=${() => send('/inspect')}>
          ${W.compress.inspect}</button>
        <button class=${understood ? 'primary' : ''} disabled=${busy || why || (understood && !understood.understood)}
          onClick=${() => send('/compress')}>${W.compress.start}</button></div>
      <div aria-live="polite">${
        busy &&
        html`<p class="muted">${
          state.sending < 1
            ? W.compress.sending(percent(state.sending))
            : state.path === '/inspect'
              ? W.compress.looking
              : W.compress.starting
        }</p><${Bar} share=${state.sending} label=${W.compress.upload} />`
      }</div>
      <${Problem} problem=${state.problem} />
      ${understood && html`<${Understood} found=${understood} kinds=${kinds} />`}
      <${Commands} entries=${entries} recipe=${recipe} />`
    }`;
}
