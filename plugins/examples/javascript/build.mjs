// node build.mjs WIT_DIRECTORY OUTPUT: makes the component.

import { componentize } from '@bytecodealliance/componentize-js';
import { writeFile } from 'node:fs/promises';

const [witPath, output] = process.argv.slice(2);
const { component } = await componentize({
  sourcePath: 'least-busy.js',
  witPath,
  worldName: 'key-selector',
  // There is no world outside: without these the component imports nothing but what it uses of the gateway.
  disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
});
await writeFile(output, component);
