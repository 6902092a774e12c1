/** Refusals of the auth API, in the shape its clients read: `{code, error_code, msg}`. */

export class AuthProblem extends Error {
  constructor(
    readonly status: number,
    readonly errorCode: string,
    message: string,
  ) {
    super(message)
  }

  body(): Record<string, unknown> {
    return { code: this.status, error_code: this.errorCode, msg: this.message }
  }
}

export function authProblem(status: number, errorCode: string, message: string): AuthProblem {
  return new AuthProblem(status, errorCode, message)
}
