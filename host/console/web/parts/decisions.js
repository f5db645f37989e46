// @ts-check
// Why a call went as it did: what the filter said, what its hold followed from, and what set the provider key that
// served apart from the others.

import { h } from '../kernel/dom.js';
import { t, word } from '../kernel/words.js';
import { count, duration, short } from './format.js';
import { missing } from './note.js';

/** @param {any} call */
export function decisions(call) {
  const said = call.decisions;
  if (!said) return missing(t('call.road.missing'));
  const steps = [filter(said.filter), hold(said.hold), standIn(said.stand_in), choice(said.choice, call)].filter(
    Boolean,
  );
  return [
    h('h2', null, t('call.road')),
    steps.length
      ? h(
          'ol',
          { class: 'road' },
          steps.map((step) => h('li', null, step)),
        )
      : h('p', { class: 'muted' }, t('call.road.none')),
  ];
}

/** @param {any} it */
const filter = (it) =>
  it && [
    h('strong', null, t('step.filter')),
    ': ',
    word('verdict', it.verdict),
    it.matches > 0 && ` · ${t('decision.matches', { n: it.matches })}`,
    it.rule != null && ` · ${t('decision.rule', { n: it.rule })}`,
  ];

/** @param {any} it */
const hold = (it) =>
  it && [
    h('strong', null, t('step.reserve')),
    ': ',
    t('decision.hold', { input: count(it.input_tokens), output: count(it.output_tokens) }),
    ' · ',
    t(`decision.price.${it.price}`),
  ];

/** @param {number} number */
const standIn = (number) => number > 0 && t('decision.stand-in', { n: number });

/** @param {any} it @param {any} call */
function choice(it, call) {
  if (!it) return null;
  const { seen } = it;
  const named = seen?.others.map((/** @type {any} */ one, /** @type {number} */ at) => [
    at ? ', ' : ' ',
    one.name ?? short(one.credential),
  ]);
  return [
    h('strong', null, t('step.select')),
    ': ',
    call.credential_name ?? short(call.credential),
    ' ',
    word('because', it.because),
    seen &&
      h(
        'p',
        { class: 'muted' },
        t('decision.seen', { n: seen.fit, unfit: seen.unfit, weight: seen.weight, busy: seen.in_flight }),
        seen.failures > 0 && ` · ${t('decision.failures', { n: seen.failures })}`,
        seen.half_open && ` · ${word('state', 'half-open')}`,
        seen.idle_ms != null && ` · ${t('decision.idle', { n: duration(seen.idle_ms) })}`,
      ),
    seen?.others.length > 0 && h('p', { class: 'muted' }, t('decision.others'), named),
  ];
}
