/**
 * Messages a second that SNS takes by default of all publishers of an account together, by region (AWS General Reference,
 * "Amazon SNS endpoints and quotas", standard topics). Every other region has `ELSEWHERE`.
 */
const QUOTAS: [perSecond: number, regions: string[]][] = [
  [30_000, ['us-east-1']],
  [9_000, ['us-west-2', 'eu-west-1']],
  [
    1_500,
    [
      ...['us-east-2', 'us-west-1', 'eu-central-1', 'ap-south-1'],
      ...['ap-northeast-2', 'ap-southeast-1', 'ap-southeast-2', 'ap-northeast-1'],
    ],
  ],
];
const ELSEWHERE = 300;

/** How fast a topic may be published to where nobody has had its quota raised: messages a second, by its region. */
export function findDefaultRate(topicArn: string): number {
  const region = topicArn.split(':')[3] ?? '';
  return QUOTAS.find(([, regions]) => regions.includes(region))?.[0] ?? ELSEWHERE;
}

/** The least time that so many messages take at a rate, in seconds, rounded up to a tenth. */
export function estimateSeconds(messages: number, perSecond: number): number {
  return Math.ceil((messages / perSecond) * 10) / 10;
}
