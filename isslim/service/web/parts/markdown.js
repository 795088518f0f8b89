// The Markdown of cards as elements: headings, paragraphs, lists, tables, code, pictures. All text is text.
import { html, useEffect, useState } from '../vendor/preact.js';
import { bytes } from '../api.js';
import { Table } from './common.js';

// A picture of the bundle: fetched with the key, shown from its bytes.
function Picture({ path, words }) {
  const [source, setSource] = useState('');
  useEffect(() => {
    let current = true;
    bytes(path).then(
      (found) => {
        const reader = new FileReader();
        reader.onload = () => current && setSource(reader.result);
        reader.readAsDataURL(
          new Blob([found], { type: path.endsWith('.svg') ? 'image/svg+xml' : 'image/png' }),
        );
      },
      () => {},
    );
    return () => {
      current = false;
    };
  }, [path]);
  return source ? html`<img src=${source} alt=${words} />` : html`<em class="muted">${words}</em>`;
}

const INLINE =
  /(`+)(.+?)\1|\*\*(.+?)\*\*|\*(.+?)\*|!\[((?:\\.|[^\]])*)\]\(([^)\s]+)\)|\[((?:\\.|[^\]])*)\]\(([^)\s]+)\)|\\([!-/:-@[-`{-~])/;
const unescaped = (text) => text.replace(/\\([!-/:-@[-`{-~])/g, '$1');

export function inline(text) {
  const found = INLINE.exec(text);
  if (!found)
    return text ? [text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')] : [];
  const [all, , code, bold, italic, alt, picture, link, target, plain] = found;
  let here = plain;
  if (code) here = html`<code>${code}</code>`;
  else if (bold) here = html`<b>${inline(bold)}</b>`;
  else if (italic) here = html`<em>${inline(italic)}</em>`;
  else if (picture)
    here = picture.startsWith('/models/')
      ? html`<${Picture} path=${picture} words=${unescaped(alt)} />`
      : unescaped(alt);
  // A card is another's text: an address in it is shown, and never followed by a click.
  else if (target) here = html`${inline(link)} <span class="muted">(${target})</span>`;
  return [...inline(text.slice(0, found.index)), here, ...inline(text.slice(found.index + all.length))];
}

const cells = (line) =>
  line
    .trim()
    .replace(/^\||\|$/g, '')
    .split(/(?<!\\)\|/)
    .map((each) => inline(each.trim().replaceAll('\\|', '|')));
const LIST = /^\s*[-*] /;

function block(lines) {
  const [first] = lines;
  const heading = /^(#{1,6}) (.*)$/.exec(first);
  if (heading) {
    // The page has its own first heading.
    const level = `h${Math.min(6, heading[1].length + 1)}`;
    return html`<${level}>${inline(heading[2])}</${level}>`;
  }
  if (first.startsWith('|') && lines.length > 1) {
    const [head, , ...rows] = lines;
    const aligned = lines[1]
      .split('|')
      .slice(1)
      .flatMap((each, at) => (each.trim().endsWith(':') ? [at] : []));
    return html`<${Table} label=${lines[0].replaceAll('|', ' ').trim()} head=${cells(head)} rows=${rows.map(cells)} numbers=${aligned} />`;
  }
  if (LIST.test(first)) {
    const items = lines.reduce(
      (all, line) =>
        LIST.test(line)
          ? [...all, line.replace(LIST, '')]
          : [...all.slice(0, -1), `${all[all.length - 1]} ${line.trim()}`],
      [],
    );
    return html`<ul>${items.map((each) => html`<li>${inline(each)}</li>`)}</ul>`;
  }
  return html`<p>${inline(lines.join(' '))}</p>`;
}

export function Markdown({ source }) {
  const body = source.replace(/^---\n[\s\S]*?\n---\n/, '');
  const found = [];
  body.split(/^(```[^\n]*\n[\s\S]*?^```)$/m).forEach((part, at) => {
    if (at % 2) {
      found.push(html`<pre tabindex="0">${part.replace(/^```[^\n]*\n|\n?```$/g, '')}</pre>`);
      return;
    }
    for (const lines of part.split(/\n\s*\n/).map((each) => each.split('\n').filter((line) => line.trim()))) {
      if (lines.length) found.push(block(lines));
    }
  });
  return found;
}
