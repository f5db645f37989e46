// What can be said of the modules without opening them: their types are right, and no function is long.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parse } from 'acorn';
import { full } from 'acorn-walk';
import { held, run, same } from './tools.mjs';

const WEB = resolve(process.env.WEB);
/** Of a function without those that it contains: what is made of closures is as long as the longest of them. */
const FUNCTION_LINES_MAX = 60;
/** Three that are longer: they may get shorter, never longer. */
const LONGER = { 'pages/keys.js': 65, 'pages/models.js': 89, 'pages/prices.js': 69 };
const here = dirname(fileURLToPath(import.meta.url));
const modules = readdirSync(WEB, { recursive: true }).filter((name) => name.endsWith('.js'));

const range = ({ start, end }) => Array.from({ length: end.line - start.line + 1 }, (_, at) => start.line + at);

await run({
  types() {
    const config = join(here, 'tsconfig.json');
    const options = { strict: true, noEmit: true, checkJs: true, allowJs: true, target: 'es2023', module: 'esnext', moduleResolution: 'bundler', lib: ['es2024', 'dom', 'dom.iterable'], types: [] };
    writeFileSync(config, JSON.stringify({ compilerOptions: options, include: [`${WEB}/**/*.js`] }));
    let said = '';
    try {
      execFileSync(join(here, 'node_modules/.bin/tsc'), ['-p', config], { encoding: 'utf8' });
    } catch (error) {
      said = error.stdout || String(error);
    }
    same('the types of all modules are right, strictly', said, '');
    const unchecked = modules.filter((name) => !readFileSync(join(WEB, name), 'utf8').startsWith('// @ts-check\n'));
    same('every module is checked', unchecked, []);
  },
  functions() {
    const long = [];
    for (const name of modules) {
      const tree = parse(readFileSync(join(WEB, name), 'utf8'), { ecmaVersion: 'latest', sourceType: 'module', locations: true });
      const functions = [];
      full(tree, (node) => /Function/.test(node.type) && functions.push(node));
      for (const node of functions) {
        const inside = functions.filter((other) => other !== node && other.start >= node.start && other.end <= node.end);
        const lines = new Set(range(node.loc));
        for (const other of inside) for (const line of range(other.loc).slice(1)) lines.delete(line);
        if (lines.size > (LONGER[name] ?? FUNCTION_LINES_MAX)) long.push(`${name}:${node.loc.start.line} has ${lines.size} lines`);
      }
    }
    same(`no function is longer than ${FUNCTION_LINES_MAX} lines`, long, []);
    held('there are modules', modules.length > 20, modules);
  },
});
