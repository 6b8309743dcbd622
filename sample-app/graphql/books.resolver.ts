import { Args, Mutation, Query, Resolver } from '@nestjs/graphql';
import { RateLimit } from 'nest-rate-limit';
import { Cost, costOf } from '../cost.js';

/** All fields share one bucket of 10 tokens, refilled at one per second. A query costs 1, a mutation 5. */
@RateLimit({ capacity: 10, refill: 1, cost: costOf })
@Resolver()
export class BooksResolver {
  @Query(() => [String])
  books(): string[] {
    return ['Walden', 'Emma'];
  }

  @Cost(5)
  @Mutation(() => String)
  addBook(@Args('title') title: string): string {
    // A real application would store the book here.
    return title;
  }
}
