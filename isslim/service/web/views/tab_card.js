// The model's card, as it is in the bundle.
import { html } from '../vendor/preact.js';
import { text } from '../api.js';
import { Problem, useLoaded } from '../parts/common.js';
import { Markdown } from '../parts/markdown.js';
import { W } from '../words.js';

export default function Card({ id }) {
  const [card, problem, again] = useLoaded(() => text(`/models/${encodeURIComponent(id)}/card`), [id]);
  if (problem) return html`<${Problem} problem=${problem} again=${again} />`;
  return card == null
    ? html`<p class="muted">${W.loading}</p>`
    : html`<div class="card-text"><${Markdown} source=${card} /></div>`;
}
