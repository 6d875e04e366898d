// test_versus.mjs: does versus.mjs give every row that it was asked for, with figures in it? Says nothing about how fast anything is.
//
//   node tests/bench/versus/test_versus.mjs --bin build/bin [--modules DIR/node_modules]
import {spawnSync} from 'node:child_process';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';

const {values: args} = parseArgs({options: {bin: {type: 'string', default: 'build/bin'}, modules: {type: 'string'}}});
const here = dirname(fileURLToPath(import.meta.url)), model = join(here, '../../../deploy/local/model/kingjames.gguf');

function versus(...flags) {
    const modules = args.modules ? ['--modules', args.modules] : [];
    const run = spawnSync(process.execPath, [join(here, 'versus.mjs'), '--bin', args.bin, ...modules, '--threads', '1', ...flags],
        {encoding: 'utf8'});
    if (run.status === 77) {
        console.log(run.stdout);
        process.exit(77);
    }
    return run;
}

function expect(what, isTrue) {
    if (isTrue) return;
    console.error(`not so: ${what}`);
    process.exitCode = 1;
}

const tests = ['pp8', 'tg4x2@5', 'tg2+busy', 'start', 'start!first'];
const run = versus('--models', model, '--rounds', '2', '--flash', 'on', '--tests', tests.join(','));
const lines = run.stdout.split('\n'), rows = lines.filter((l) => l.startsWith('{')).map((l) => JSON.parse(l));
expect(`it ends well: ${run.stderr}`, run.status === 0);
expect('a row of the table for every test', lines.filter((l) => l.startsWith('| kingjames.gguf')).length === tests.length);
expect('a line of JSON for every test, in order', JSON.stringify(rows.map((r) => r.test)) === JSON.stringify(tests));
for (const r of rows) {
    const figures = [r.ours, r.llama, r.ratio, r.read].flatMap((s) => [s.min, s.median, s.max]);
    expect(`${r.test}: figures are positive`, figures.every((x) => Number.isFinite(x) && x > 0));
    expect(`${r.test}: from least to most`, [r.ours, r.llama, r.ratio, r.read].every((s) => s.min <= s.median && s.median <= s.max));
    expect(`${r.test}: two pairs, each between readings of the bandwidth`, r.pairs.length === 2 && r.pairs.every((p) => p.read.length >= 2));
    expect(`${r.test}: a ratio is that of its pair`, r.pairs.every((p) => {
        const ratio = r.unit === 'ms' ? p.llama / p.ours : p.ours / p.llama;
        return Math.abs(ratio / p.ratio - 1) < 1e-6;
    }));
    expect(`${r.test}: memory`, r.llama_peak_bytes > 1e6 && (r.unit === 'ms' || r.peak_bytes > 1e6));
}
const refused = versus('--models', model, '--tests', 'pp8,xx9');
expect('a test that does not exist is named', refused.status === 1 && refused.stderr.includes("'xx9'"));
