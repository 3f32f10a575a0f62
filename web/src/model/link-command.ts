/** The command that prints a link into this page, for the shell of the profiler's host. */

/** `database` as the server has it, null when it never said; `page` where the browser finds the page. */
export function linkCommand(database: string | null, page: { origin: string; pathname: string }): string | null {
  if (database === null) return null;
  return `sudo profiler url --db ${quoted(database)} --base ${quoted(page.origin + page.pathname)}`;
}

/** One word of a shell: as it is where it can be, else in single quotes. */
function quoted(text: string): string {
  return /^[\w/.+,:@%=-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
