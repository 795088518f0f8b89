// What was understood of an upload, before or while it is compressed.
import { html } from '../vendor/preact.js';
import { Table } from './common.js';
import { count, short } from '../format.js';
import { W } from '../words.js';

const List = ({ title, of }) =>
  of.length ? html`<h3>${title}</h3><ul>${of.map((each) => html`<li>${each}</li>`)}</ul>` : null;

export function Understood({ found, kinds }) {
  const kind = (kinds || []).find((each) => each.name === found.kind);
  const problem = found.problem;
  return html`<section class="card" aria-label=${W.understood.title}>
    <h2>${found.understood ? W.understood.title : W.understood.refused}</h2>
    ${problem && html`<p><b>${problem.title}</b></p><p>${problem.detail}</p>`}
    ${found.layout && html`<p class="lead">${found.layout}</p>`}
    <p class="muted">${[
      kind && kind.title,
      found.parameters && W.understood.parameters(short(found.parameters)),
      found.mult_adds && W.understood.multAdds(short(found.mult_adds)),
    ]
      .filter(Boolean)
      .join(' \u00b7 ')}</p>
    <${List} title=${W.understood.warnings} of=${found.warnings} />
    ${
      found.layers.length > 0 &&
      html`<${Table} label=${W.understood.layers} head=${W.understood.layersHead} numbers=${[1]}
      rows=${found.layers.map((each) => [each.name, count(each.size), each.may_shrink ? W.yes : W.no])} />`
    }
    ${
      found.texts.length > 0 &&
      html`<${Table} label=${W.understood.texts} head=${W.understood.textsHead} numbers=${[1, 2]}
      rows=${found.texts.map((each) => [W.fields[each.field] || each.field, count(each.tokens), count(each.unknown)])} />`
    }
    ${found.calibrated_on && html`<p>${W.understood.calibrated(found.calibrated_on)}</p>`}
    ${found.evaluated_on && html`<p>${W.understood.evaluated(found.evaluated_on)}</p>`}
    ${found.not_evaluated && html`<p class="note">${W.understood.notEvaluated(found.not_evaluated)}</p>`}
    <${List} title=${W.understood.assumed} of=${found.assumed} />
    <${List} title=${W.understood.dropped} of=${found.dropped} />
    <${List} title=${W.understood.leftAlone} of=${found.left_alone} />
    ${
      found.checks.length > 0 &&
      html`<${List} title=${W.understood.checks} of=${found.checks.map((each) =>
        W.understood.check(each.name, each.expected, each.found),
      )} />`
    }
  </section>`;
}
