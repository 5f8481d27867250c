import { defineConfig } from "vite";

// Fixed names: the bundle is committed, and a rebuild of the same sources must give the same files.
export default defineConfig({
  base: "/page/",
  build: {
    outDir: "../page",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    rollupOptions: {
      output: { entryFileNames: "page.js", assetFileNames: "page[extname]", codeSplitting: false },
    },
  },
});
