// What was proven of the model, and how its figures were found.
import { html } from '../vendor/preact.js';
import { Table } from '../parts/common.js';
import { exponent } from '../format.js';
import { W } from '../words.js';

export default function Proof({ manifest, report, kind }) {
  const conclusions = report.conclusions;
  const inspection = report.inspection;
  return html`<h2>${W.proof.heading}</h2><p>${W.proof.text}</p>
    <${Table} label=${W.proof.heading} head=${W.proof.head} numbers=${[2, 3]} rows=${manifest.checks.map(
      (each) => [`\u2713 ${each.name}`, each.detail, exponent(each.error), exponent(each.tolerance)],
    )} />
    ${
      inspection &&
      inspection.checks.length > 0 &&
      html`<${Table} label=${W.proof.sent} head=${W.proof.sentHead}
      rows=${inspection.checks.map((each) => [each.name, each.expected, each.found, each.tolerance])} />`
    }
    <h2>${W.proof.verdict}</h2>
    ${
      conclusions
        ? html`<ul>${[
            conclusions.advice,
            conclusions.speed,
            ...conclusions.further,
            conclusions.size,
            conclusions.quality,
            conclusions.sizes,
            ...conclusions.instead,
            ...conclusions.reservations,
          ]
            .filter(Boolean)
            .map((each) => html`<li>${each}</li>`)}</ul>`
        : html`<p>${report.verdict}</p>`
    }
    ${report.left_out.length > 0 && html`<h2>${W.proof.leftOut}</h2><ul>${report.left_out.map((each) => html`<li>${each}</li>`)}</ul>`}
    ${report.cautions.length > 0 && html`<h2>${W.proof.cautions}</h2><ul>${report.cautions.map((each) => html`<li>${each}</li>`)}</ul>`}
    ${kind && html`<p class="muted">${kind.interval_note}</p>`}`;
}
