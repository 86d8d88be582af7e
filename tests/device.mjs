// device.mjs - the GPU that tests run on, in Node and Deno: a real one where there is one, else
// the software Vulkan driver that the runtime accepts.
import { existsSync } from 'node:fs';
import process from 'node:process';
import { openDevice } from '../browser/gpu.js';

// Dawn refuses Debian's lavapipe; wgpu runs on it. Chromium ships SwiftShader.
const SWIFTSHADER = { VK_DRIVER_FILES: '/usr/lib/chromium/vk_swiftshader_icd.json' };
const LAVAPIPE = { VK_DRIVER_FILES: '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json',
    VK_ICD_FILENAMES: '/usr/share/vulkan/icd.d/lvp_icd.x86_64.json', WGPU_BACKEND: 'vulkan' };

const GPU_NODES = ['/dev/dri/renderD128', '/dev/nvidia0', '/dev/dxg'];

/** Chooses the driver, by the devices that Linux shows. software: 'fallback' (if there is no GPU),
 *  'only', 'never'. The Vulkan loader reads its environment once: before the first device. */
export function chooseDriver(software = 'fallback') {
    const hasGpu = process.platform !== 'linux' || GPU_NODES.some((node) => existsSync(node));
    const driver = globalThis.Deno ? LAVAPIPE : SWIFTSHADER;
    if ((software === 'only' || (software === 'fallback' && !hasGpu))
        && !process.env.VK_DRIVER_FILES && existsSync(driver.VK_DRIVER_FILES)) {
        Object.assign(process.env, driver);
    }
}

/** Like openDevice(); software: as chooseDriver has it. Throws a DopplerError NO_GPU where there is
 *  no device. */
export async function openTestDevice({ software = 'fallback', ...options } = {}) {
    chooseDriver(software);
    return openDevice({ ...options, force: software !== 'never' });
}

/** "google swiftshader SwiftShader driver 5.0.0 (software)" */
export function adapterName({ vendor, architecture, description, software }) {
    const names = [vendor, architecture, description].filter(Boolean).join(' ');
    return `${names || 'unnamed adapter'}${software ? ' (software)' : ''}`;
}
