// The shell: routes behind `#`, navigation, and the field for a key where the service asks for one.
import { html, render, useEffect, useErrorBoundary, useRef, useState } from './vendor/preact.js';
import { asks, key } from './api.js';
import { Lazy, Problem } from './common.js';
import { W } from './words.js';

// Of each screen its address, the module that it is in, and its name there.
const ROUTES = [
  [/^$/, 'jobs', 'Home'],
  [/^compress$/, 'compress', 'Compress'],
  [/^jobs\/([^/]+)$/, 'jobs', 'JobView'],
  [/^models\/([^/]+)(?:\/([^/]+))?$/, 'model', 'Model'],
  [/^compare$/, 'fronts', 'Compare'],
  [/^sweeps(?:\/([^/]+))?$/, 'fronts', 'Sweeps'],
  [/^aliases(?:\/([^/]+))?$/, 'live', 'Aliases'],
  [/^health$/, 'live', 'HealthView'],
];
const LINKS = [
  ['', W.nav.models],
  ['compress', W.nav.compress],
  ['compare', W.nav.compare],
  ['sweeps', W.nav.sweeps],
  ['aliases', W.nav.aliases],
  ['health', W.nav.health],
];

// A part of an address that somebody cut short stands for itself.
function decoded(part) {
  try {
    return part && decodeURIComponent(part);
  } catch {
    return part;
  }
}

function place() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  for (const [pattern, module, name] of ROUTES) {
    const found = pattern.exec(path);
    if (found) {
      const parts = found.slice(1).map(decoded);
      return { path, module, name, parts, query: new URLSearchParams(query) };
    }
  }
  return { path, name: '', parts: [], query: new URLSearchParams() };
}

function KeyField({ done }) {
  const field = useRef();
  useEffect(() => field.current.focus(), []);
  const submit = (event) => {
    event.preventDefault();
    key.set(field.current.value.trim());
    done();
  };
  return html`<section class="card key" role="alert">
    <h2>${W.key.title}</h2><p>${W.key.text}</p>
    <form onSubmit=${submit} class="row">
      <label class="grow">${W.key.label}
        <input ref=${field} type="password" autocomplete="off" spellcheck="false" required /></label>
      <button class="primary">${W.key.use}</button>
    </form></section>`;
}

function View({ at }) {
  const [error] = useErrorBoundary();
  if (!at.name) return html`<h1>${W.noSuchPage}</h1><p><a href="#/">${W.nav.models}</a></p>`;
  if (error) return html`<${Problem} problem=${error} />`;
  return html`<${Lazy} file=${at.module} ...${at} />`;
}

function App() {
  const [at, setAt] = useState(place());
  const [asked, setAsked] = useState(false);
  const [tries, setTries] = useState(0);
  const first = useRef(true);
  useEffect(() => {
    const moved = () => setAt(place());
    const wanted = () => setAsked(true);
    addEventListener('hashchange', moved);
    asks.addEventListener('key', wanted);
    return () => {
      removeEventListener('hashchange', moved);
      asks.removeEventListener('key', wanted);
    };
  }, []);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    document.title = W.product;
    scrollTo(0, 0);
    document.getElementById('main').focus();
  }, [at.name, at.parts[0]]);
  const skip = (event) => {
    event.preventDefault();
    document.getElementById('main').focus();
  };
  const withKey = () => {
    setAsked(false);
    asks.dispatchEvent(new Event('given'));
  };
  const forget = () => {
    key.set('');
    setAsked(false);
    setTries(tries + 1);
  };
  return html`
    <a class="skip" href="#main" onClick=${skip}>${W.skip}</a>
    <header class="top">
      <a class="mark" href="#/">${W.product}</a>
      <nav aria-label=${W.nav.label}>${LINKS.map(
        ([path, name]) => html`<a href=${`#/${path}`}
        aria-current=${
          at.path === path || (path && at.path.startsWith(`${path}/`)) || (!path && at.name === 'Model')
            ? 'page'
            : undefined
        }>${name}</a>`,
      )}
        ${key.get() && html`<button class="quiet" onClick=${forget}>${W.key.forget}</button>`}</nav>
    </header>
    <main id="main" tabindex="-1">
      ${asked && html`<${KeyField} done=${withKey} />`}
      <${View} key=${`${tries} ${at.name} ${at.parts[0] || ''}`} at=${at} />
    </main>
    <footer class="foot"><span>${W.foot}</span> <a href="../docs">${W.docs}</a></footer>`;
}

const root = document.getElementById('app');
root.textContent = '';
render(html`<${App} />`, root);
