import { z } from 'zod';

/** The largest id of a user: a PostgreSQL integer. */
export const USER_ID_MAX = 2_147_483_647;

/** A user's id, as the external user provider gives it. */
export const userIdSchema = z.int().min(1).max(USER_ID_MAX).describe('The id of a user at the external user provider.');
