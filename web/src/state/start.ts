/** Imported first: the questions are under way before the modules that draw are run. */

import { startRefreshing } from "./refresh";

startRefreshing();
