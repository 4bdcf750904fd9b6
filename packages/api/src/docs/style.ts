/** The page's only style: no font, picture or script comes from elsewhere. */
export const pageStyle = `
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --strong: #0b62c4; }
@media (prefers-color-scheme: dark) { :root { --strong: #78b4ff; } }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; }
.page { display: grid; grid-template-columns: 17rem minmax(0, 1fr); }
nav { position: sticky; top: 0; height: 100vh; overflow: auto; padding: 1rem; border-right: 1px solid var(--line); font-size: .875rem; }
nav ul { list-style: none; margin: 0 0 1rem; padding: 0; }
nav a { display: block; padding: .125rem 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
main { padding: 1rem 2rem 4rem; max-width: 62rem; }
a { color: var(--strong); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
h1 { margin: 0 0 .5rem; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
section { margin: 2rem 0; }
h3 { margin: 0 0 .25rem; font-size: 1rem; overflow-wrap: anywhere; }
h4 { margin: 1rem 0 .25rem; font-size: .875rem; }
.method { display: inline-block; min-width: 4.5em; font-weight: 700; color: var(--strong); }
code, pre, h3 { font-family: ui-monospace, monospace; }
code { font-size: .9em; }
pre { margin: .25rem 0; padding: .75rem; overflow: auto; max-height: 24rem; background: var(--soft); border: 1px solid var(--line); border-radius: .25rem; font-size: .8125rem; line-height: 1.4; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .5rem .25rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
.note { color: inherit; opacity: .75; font-size: .875rem; margin: .25rem 0; }
@media (max-width: 50rem) { .page { display: block; } nav { position: static; height: auto; border: 0; border-bottom: 1px solid var(--line); } main { padding: 1rem; } }
`;
