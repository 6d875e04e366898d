// side.mjs: one of the two programs that take turns: a child process that does a repetition for each line it gets, and answers with a
// line of JSON.
import {spawn} from 'node:child_process';
import {createInterface} from 'node:readline';

export class Side {
    constructor(command, args, env = {}) {
        this.name = [command, ...args].join(' ');
        this.child = spawn(command, args, {env: {...process.env, ...env}, stdio: ['pipe', 'pipe', 'pipe']});
        this.stderr = '';
        this.child.stderr.on('data', (text) => (this.stderr = (this.stderr + text).slice(-4000)));
        this.child.stdin.on('error', () => {}); // it ended: the missing answer tells
        this.ended = new Promise((resolve, reject) => {
            this.child.on('error', reject);
            this.child.on('close', resolve);
        });
        this.lines = createInterface({input: this.child.stdout})[Symbol.asyncIterator]();
    }

    // The next line that it writes. Throws if it ended instead.
    async answer() {
        const {value, done} = await this.lines.next();
        if (!done) return JSON.parse(value);
        throw new Error(`${this.name}\nended with code ${await this.ended}: ${this.stderr}`);
    }

    // A repetition.
    async turn() {
        this.child.stdin.write('\n');
        return this.answer();
    }

    // Tells it that there is nothing more to do, and waits until it has ended.
    async close() {
        this.child.stdin.end();
        for (let line; !(line = await this.lines.next()).done;);
        return this.ended;
    }
}
