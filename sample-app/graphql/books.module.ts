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
      // Rejections have status 429 instead of 200 with an error in the body.
      preserveHttpStatusForExecutionErrors: false,
    }),
  ],
  providers: [BooksResolver],
})
export class BooksModule {}
