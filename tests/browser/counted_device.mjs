// counted_device.mjs - a GPUDevice that counts what is made through it.

/** A stand-in for device, and the objects created through it by kind: buffer, bindGroup,
 *  computePipelineAsync ..., computePass, commandBuffer; also copy (of a buffer, without which
 *  nothing can be read back) and indirectDispatch. Tests may replace members in `instead`.
 *  @param {GPUDevice} device
 *  @returns {{device: GPUDevice, counts: Record<string, number>, reset: () => void}} */
export function countedDevice(device, instead = {}) {
    const counts = {};
    const count = (kind) => { counts[kind] = (counts[kind] ?? 0) + 1; };
    const wrap = (target, replaced) => new Proxy(target, {
        get(_, name) {
            if (name in replaced) return replaced[name];
            const value = target[name];
            if (typeof value !== 'function') return value;
            return (...args) => {
                if (/^create[A-Z]/.test(name)) count(name[6].toLowerCase() + name.slice(7));
                return value.apply(target, args);
            };
        },
    });
    const counted = wrap(device, {
        createCommandEncoder(...args) {
            count('commandEncoder');
            const encoder = device.createCommandEncoder(...args);
            return wrap(encoder, {
                beginComputePass(...options) {
                    count('computePass');
                    const pass = encoder.beginComputePass(...options);
                    return wrap(pass, {
                        dispatchWorkgroupsIndirect(...dispatch) {
                            count('indirectDispatch');
                            pass.dispatchWorkgroupsIndirect(...dispatch);
                        },
                    });
                },
                copyBufferToBuffer(...copy) {
                    count('copy');
                    encoder.copyBufferToBuffer(...copy);
                },
                finish(...finish) {
                    count('commandBuffer');
                    return encoder.finish(...finish);
                },
            });
        },
        ...instead,
    });
    return { device: counted, counts,
        reset() { for (const kind of Object.keys(counts)) delete counts[kind]; } };
}
