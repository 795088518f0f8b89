// The bundle's files, to download, with what proves that they arrived whole.
import { html, useState } from '../vendor/preact.js';
import { get, origin, save } from '../api.js';
import { Copy, Problem, Table, useLoaded } from '../parts/common.js';
import { bytes } from '../format.js';
import { W } from '../words.js';

export default function Files({ id, manifest }) {
  const [files, problem, again] = useLoaded(() => get(`/models/${encodeURIComponent(id)}/files`), [id]);
  const [failed, setFailed] = useState(null);
  const download = (path) => {
    setFailed(null);
    const address = `/models/${encodeURIComponent(id)}/files/${path.split('/').map(encodeURIComponent).join('/')}`;
    save(address, `${manifest.name}-${path.replaceAll('/', '-')}`).catch(setFailed);
  };
  return html`<h2>${W.files.heading}</h2><${Problem} problem=${problem || failed} again=${problem && again} />
    ${
      files &&
      html`<${Table} label=${W.files.heading} head=${W.files.head} numbers=${[1]} rows=${files.map((each) => [
        html`<button class="quiet" onClick=${() => download(each.path)}>${each.path}</button>`,
        bytes(each.size_bytes),
        html`<code>${each.sha256}</code>`,
      ])} />`
    }
    <${Copy} label=${W.files.pull} text=${`isslim pull ${manifest.name} --out ${manifest.name} --url ${origin()}`} />`;
}
