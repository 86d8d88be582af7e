// error.js - the one kind of error that the package throws on purpose.

/** `status` is the engine's name for what went wrong (doppler.h, DOPPLER_STATUSES): NO_MEMORY,
 *  NO_GPU, DEVICE_LOST, GPU_ERROR, IO, BAD_FILE, UNSUPPORTED, BAD_ARGUMENT, CONTEXT_FULL, BUSY
 *  or CANCELLED. The message is one line that names the thing and the numbers. */
export class DopplerError extends Error {
    name = 'DopplerError';

    constructor(status, message, options) {
        super(message, options);
        this.status = status;
    }
}

/** An error as plain data, to cross a worker's boundary, and back. */
export const packError = ({ name, message, status, stack }) => ({ name, message, status, stack });

export function unpackError({ name, message, status, stack }) {
    if (status) return new DopplerError(status, message, { cause: stack });
    return Object.assign(new Error(message), { name, stack });
}
