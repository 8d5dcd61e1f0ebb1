/* Unpacks data blocks (gzip as base64) to text. The blocks follow the scripts in the file, so `isRead` waits for the end of the document. */
const isRead = new Promise(then => { if (document.readyState === 'loading') addEventListener('DOMContentLoaded', then); else then(); });
const unpacked = async id => {
  await isRead;
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).text();
};
