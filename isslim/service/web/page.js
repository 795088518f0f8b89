// What nearly every screen and part takes: elements, requests, figures, words, common parts.
export * from './vendor/preact.js';
export * from './api.js';
export * from './format.js';
export * from './words.js';
export * from './common.js';
