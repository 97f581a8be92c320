/** The statements of the service by which its progress is known, each by words that no other one has. */
export const STATEMENTS = {
  insert: /insert into notifications/,
  cut: /insert into pages/,
  settle: /set state = 'settled'/,
};
