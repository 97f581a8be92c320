import { inject } from 'vitest';

// What the AWS SDK reads by itself: every client made in a test file talks to the emulator.
Object.assign(process.env, {
  AWS_REGION: 'us-east-1',
  AWS_ENDPOINT_URL: inject('emulatorUrl'),
  AWS_ACCESS_KEY_ID: 'local',
  AWS_SECRET_ACCESS_KEY: 'local',
  AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
});
