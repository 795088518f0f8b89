// A place to drop files, or to choose them: they are kept until the screen that takes them is there.
import { html, useRef, useState } from '../vendor/preact.js';
import { W } from '../words.js';

export const dropped = { files: [] };

export function Drop({ take }) {
  const [over, setOver] = useState(false);
  const field = useRef();
  const accept = (files) => {
    if (!files.length) return;
    if (take) {
      take([...files]);
      return;
    }
    dropped.files = [...files];
    location.hash = '#/compress';
  };
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    accept(event.dataTransfer.files);
  };
  return html`<div class=${`drop ${over ? 'over' : ''}`} onDragOver=${(event) => {
    event.preventDefault();
    setOver(true);
  }}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <p><b>${W.drop.title}</b></p><p class="muted small">${W.drop.text}</p>
    <p><label class="button">${W.drop.choose}<input class="unseen" ref=${field} type="file" multiple
      onChange=${(event) => {
        accept(event.target.files);
        event.target.value = '';
      }} /></label></p></div>`;
}
