import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module } from '@nestjs/common';
import { GraphQLModule } from '@nestjs/graphql';
import { BooksResolver } from './books.resolver.js';

@Module({
  imports: [
    GraphQLModule.forRoot<ApolloDriverConfig>({
      driver: ApolloDriver,
      autoSchemaFile: true,
      graphiql: false,
      // A refusal is 429, and not 200 with an error inside.
      preserveHttpStatusForExecutionErrors: false,
    }),
  ],
  providers: [BooksResolver],
})
export class BooksModule {}
