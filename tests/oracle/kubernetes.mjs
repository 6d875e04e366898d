// kubernetes.mjs: deploy/cluster/kubernetes against Kubernetes' own schemas, and what its parts say of each other.
//
//   node tests/oracle/kubernetes.mjs [--modules DIR]
//
// Exit code 77: a package is missing.
import {readdirSync, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {importPackage} from '../tools/vocab_gguf.mjs';

const {values: args} = parseArgs({options: {modules: {type: 'string'}}});
const folder = join(dirname(fileURLToPath(import.meta.url)), '../../deploy/cluster/kubernetes');

let yaml, kinds;
try {
    yaml = await importPackage('yaml', args.modules);
    const find = async name => {
        const module = await importPackage(`kubernetes-models/${name}`, args.modules);
        return module[name.split('/').pop()] ?? module.default[name.split('/').pop()];
    };
    kinds = {
        'v1 Secret': await find('v1/Secret'), 'v1 Service': await find('v1/Service'),
        'apps/v1 StatefulSet': await find('apps/v1/StatefulSet'), 'batch/v1 Job': await find('batch/v1/Job'),
        'networking.k8s.io/v1 NetworkPolicy': await find('networking.k8s.io/v1/NetworkPolicy'),
    };
} catch (e) {
    console.log(`skipped: ${e.message.split('\n')[0]}`);
    process.exit(77);
}

let failures = 0;
const check = (is_true, words) => {
    if (is_true) return;
    console.log(`FAILED: ${words}`);
    failures++;
};
const objects = [];
for (const file of readdirSync(folder).filter(name => name.endsWith('.yaml'))) {
    for (const document of yaml.parseAllDocuments(readFileSync(join(folder, file), 'utf8'), {strict: true, uniqueKeys: true})) {
        check(!document.errors.length && !document.warnings.length, `${file}: ${[...document.errors, ...document.warnings].join('; ')}`);
        objects.push({file, ...document.toJS()});
    }
}
for (const {file, ...object} of objects) {
    const Kind = kinds[`${object.apiVersion} ${object.kind}`];
    check(Kind, `${file}: ${object.apiVersion} ${object.kind} is not known here`);
    try {
        if (Kind) new Kind(object).validate();
    } catch (e) {
        check(false, `${file}: ${object.kind} ${object.metadata?.name}: ${e.message}`);
    }
}

// What points at what.
const of = kind => objects.filter(o => o.kind === kind);
const [workers] = of('StatefulSet'), [job] = of('Job');
const flag = (object, name) => object.spec.template.spec.containers[0].args.find(a => a.startsWith(`--${name}=`))?.slice(name.length + 3);
const selects = (selector, labels) => Object.entries(selector).every(([k, v]) => labels[k] === v);
const service = name => of('Service').find(s => s.metadata.name === name);
const [host, port] = flag(workers, 'connect').replace('tcp://', '').split(':');
check(service(host), `workers dial ${host}, and there is no such Service`);
check(selects(service(host).spec.selector, job.spec.template.metadata.labels), `the Service ${host} does not lead to the Job`);
check(!selects(service(host).spec.selector, workers.spec.template.metadata.labels), `the Service ${host} leads to workers, too`);
for (const wanted of [port, flag(job, 'listen').split(':').pop(), flag(job, 'result-port')])
    check(service(host).spec.ports.some(p => p.port === Number(wanted)), `the Service ${host} has no port ${wanted}`);
check(service(workers.spec.serviceName), `there is no Service ${workers.spec.serviceName}`);
check(selects(workers.spec.selector.matchLabels, workers.spec.template.metadata.labels), 'the StatefulSet does not select its own pods');
check(workers.spec.replicas >= Number(flag(job, 'workers')), 'the Job waits for more workers than there are');
const data = Number(flag(workers, 'data').split(':').pop());
for (const p of [...service(workers.spec.serviceName).spec.ports, ...of('NetworkPolicy')[0].spec.ingress[0].ports])
    check(p.port === data, `port ${p.port} is not that of --data`);
for (const object of [workers, job]) {
    const pod = object.spec.template.spec, container = pod.containers[0];
    const secret = pod.volumes.find(v => v.secret), mount = container.volumeMounts.find(m => m.name === secret.name);
    check(of('Secret').some(s => s.metadata.name === secret.secret.secretName && s.stringData.key), 'there is no such Secret');
    check(flag(object, 'key-file') === `${mount.mountPath}/key`, 'the key is mounted elsewhere');
    check(pod.securityContext.runAsNonRoot && container.securityContext.readOnlyRootFilesystem, `${object.metadata.name} may do too much`);
}
const memory = /^(\d+)Gi$/.exec(workers.spec.template.spec.containers[0].resources.limits.memory);
check(Number(flag(workers, 'memory')) < Number(memory[1]) * 1024, '--memory is not below the limit');

console.log(JSON.stringify({oracle: 'kubernetes', objects: objects.length, failures}));
process.exit(failures ? 1 : 0);
