// Requests to the API, with the token if there is one, and problems as errors.

import type { Problem } from "./types";

const KEPT = "realmfleet-token";

export function token(): string {
  return sessionStorage.getItem(KEPT) ?? "";
}

export function keepToken(value: string): void {
  sessionStorage.setItem(KEPT, value);
}

export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.detail);
  }
}

export function headers(): HeadersInit {
  return token() ? { authorization: `Bearer ${token()}` } : {};
}

export async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await fetch(`/api/v1${path}`, {
    method,
    headers: { ...headers(), ...(body === undefined ? {} : { "content-type": "application/json" }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const read = await answer.json().catch(() => ({ title: "Not readable", detail: answer.statusText, status: answer.status }));
  if (!answer.ok) throw new Refused(read as Problem);
  return read as T;
}

export const get = <T,>(path: string) => ask<T>("GET", path);
export const post = <T,>(path: string, body?: unknown) => ask<T>("POST", path, body);
