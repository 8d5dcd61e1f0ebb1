/* What is kept as base64 of gzip in a data block, as text. The blocks stand behind the scripts, which are asked before all is read. */
const isRead = new Promise(then => { if (document.readyState === 'loading') addEventListener('DOMContentLoaded', then); else then(); });
const unpacked = async id => {
  await isRead;
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
};
