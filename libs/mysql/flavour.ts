/** Which of the two families a server is of, by what `SELECT VERSION()` says. */
export function isMariadb(version: string): boolean {
  return /mariadb/i.test(version);
}
