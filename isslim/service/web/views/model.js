// One model: what was gained, and behind tabs everything that is known of it.
import { html, useEffect, useState } from '../vendor/preact.js';
import { get, kinds } from '../api.js';
import { Problem, Tabs, useLoaded, useTitle } from '../parts/common.js';
import { Verdict } from '../parts/verdict.js';
import { metricOf, when } from '../format.js';
import { W } from '../words.js';

const TABS = Object.entries(W.model.tabs);
const TRY = {
  'language-model': 'try_text',
  'question-answering': 'try_questions',
  'onnx-graph': 'try_graph',
};

// A tab's module is loaded when it is opened.
function Tab({ name, ...rest }) {
  const [found, setFound] = useState({});
  useEffect(() => {
    let current = true;
    import(`./${name}.js`).then(
      (module) => current && setFound({ name, view: module.default }),
      (problem) => current && setFound({ name, problem }),
    );
    return () => {
      current = false;
    };
  }, [name]);
  if (found.name !== name) return html`<p class="muted">${W.loading}</p>`;
  return found.problem ? html`<${Problem} problem=${found.problem} />` : html`<${found.view} ...${rest} />`;
}

export default function Model({ parts: [id, chosen] }) {
  const address = `/models/${encodeURIComponent(id)}`;
  const [loaded, problem, again] = useLoaded(
    () => Promise.all([get(address), get(`${address}/report`), kinds()]),
    [id],
  );
  const name = loaded ? loaded[0].manifest.name : id;
  const tab = TABS.some(([each]) => each === chosen) ? chosen : 'try';
  useTitle(tab === 'try' ? name : `${W.model.tabs[tab]}: ${name}`);
  if (problem && !loaded) return html`<h1>${id}</h1><${Problem} problem=${problem} again=${again} />`;
  if (!loaded) return html`<h1>${id}</h1><p class="muted">${W.loading}</p>`;
  const [{ id: modelId, manifest }, report, known] = loaded;
  const kind = known.find((each) => each.name === manifest.task);
  const metric = metricOf(known, manifest.metric);
  const shared = { id: modelId, manifest, report, metric, kind };
  const conclusions = report.conclusions;
  return html`
    <p class="muted over">${kind ? kind.title : manifest.task} \u00b7 ${when(manifest.created_at)}</p>
    <h1>${name}</h1>
    <p class="lead">${conclusions ? conclusions.advice : report.verdict}</p>
    <${Verdict} manifest=${manifest} metric=${metric} />
    ${conclusions && conclusions.reservations.map((each) => html`<p class="note">${each}</p>`)}
    <${Tabs} base=${`#/models/${encodeURIComponent(id)}`} tabs=${TABS} current=${tab} />
    <div>
      <${Tab} name=${tab === 'try' ? TRY[manifest.task] || 'try_graph' : `tab_${tab}`} ...${shared} />
    </div>`;
}
