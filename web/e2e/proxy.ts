/**
 * A proxy that puts a profiler under a sub-path, as people do behind nginx (with `proxy_set_header Host $http_host`: what
 * asks to do something must come from the page's own origin). The page's tests of a real one go through it.
 */

import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

const SUB_PATH = "/behind/a/proxy/";

/** The page's address behind the proxy. */
export async function startProxy(target: string): Promise<{ url: string; close(): void }> {
  const { hostname, port } = new URL(target);
  const server = createServer((asked, answer) => {
    if (!asked.url?.startsWith(SUB_PATH)) {
      answer.writeHead(404).end();
      return;
    }
    const path = `/${asked.url.slice(SUB_PATH.length)}`;
    const onward = request({ hostname, port, path, method: asked.method, headers: asked.headers }, (reply) => {
      answer.writeHead(reply.statusCode ?? 502, reply.headers);
      reply.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => onward.destroy());
    asked.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}${SUB_PATH}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
